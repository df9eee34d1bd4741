//! Reading RLP (Ethereum yellow paper, appendix B), in its shortest form only: one value has one spelling.

import type { Bytes } from "./bytes.ts";

/** A string of bytes, or a list by the bytes of its items, one after the other. */
export interface Item {
  kind: "bytes" | "list";
  payload: Bytes;
}

/** Reads bytes that are exactly one list, and gives its items. `what` names them where they are malformed. */
export function list(bytes: Bytes, what: string): Item[] {
  const { item, rest } = split(bytes, what);
  if (rest.length > 0) throw malformed(what, "bytes follow it");
  return itemsOf(item, what);
}

/** The items of a list. */
export function itemsOf({ kind, payload }: Item, what: string): Item[] {
  if (kind !== "list") throw malformed(what, "a string of bytes stands where a list must");
  const items: Item[] = [];
  for (let rest = payload; rest.length > 0; ) {
    const next = split(rest, what);
    items.push(next.item);
    rest = next.rest;
  }
  return items;
}

/** The bytes of a string, exactly `length` of them where that is fixed. */
export function bytesOf(item: Item | undefined, what: string, length?: number): Bytes {
  if (item?.kind !== "bytes") throw malformed(what, "a list stands where a string of bytes must");
  if (length !== undefined && item.payload.length !== length) {
    throw malformed(what, "a string of bytes has another length");
  }
  return item.payload;
}

/** An integer: big-endian, without leading zeros, below 2^64. */
export function integerOf(item: Item | undefined, what: string): bigint {
  const bytes = bytesOf(item, what);
  if (bytes.length > 8 || bytes[0] === 0) {
    throw malformed(what, "an integer is too large or begins with zeros");
  }
  return bigEndian(bytes);
}

/** The RLP of an integer: the key of a block's tries. */
export function encodeInteger(value: bigint): Bytes {
  const digits = value === 0n ? "" : value.toString(16);
  const padded = digits.length % 2 === 0 ? digits : `0${digits}`;
  const significant = Uint8Array.from(padded.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  if (significant.length === 1 && (significant[0] ?? 0) < 0x80) return significant;
  return Uint8Array.of(0x80 + significant.length, ...significant);
}

/** An unsigned number, the high byte first. */
export function bigEndian(bytes: Uint8Array): bigint {
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

export function malformed(what: string, problem: string): Error {
  return new Error(`the ${what} is malformed: ${problem}`);
}

/** The first item and what follows it. */
function split(bytes: Bytes, what: string): { item: Item; rest: Bytes } {
  const [tag] = bytes;
  if (tag === undefined) throw malformed(what, "it is cut short");
  const take = (from: number, length: number) => {
    if (from + length > bytes.length) throw malformed(what, "it is cut short");
    return { payload: bytes.subarray(from, from + length), rest: bytes.subarray(from + length) };
  };
  const kind = tag < 0xc0 ? "bytes" : "list";
  if (tag < 0x80) return { item: { kind, payload: bytes.subarray(0, 1) }, rest: bytes.subarray(1) };
  const short = tag - (kind === "bytes" ? 0x80 : 0xc0);
  let found: { payload: Bytes; rest: Bytes };
  if (short < 56) {
    found = take(1, short);
  } else {
    const length = take(1, short - 55).payload;
    const number = bigEndian(length);
    if (length[0] === 0 || number < 56n) throw malformed(what, "a length is not in its shortest form");
    if (number > BigInt(bytes.length)) throw malformed(what, "it is cut short");
    found = take(1 + length.length, Number(number));
  }
  if (tag === 0x81 && (found.payload[0] ?? 0) < 0x80) {
    throw malformed(what, "a byte is not in its shortest form");
  }
  return { item: { kind, payload: found.payload }, rest: found.rest };
}
