//! Anchors: a block of an EVM chain that holds a root of the log. See `docs/log-format.md`, section 14.
//!
//! ```text
//! block hash = keccak256(header)
//! header     → receiptsRoot → receipt of the transaction → event Anchored(sender, origin, size, root, chain id)
//! header     → transactionsRoot → the transaction, whose hash names it
//! ```

import { type Bytes, fromHex, hex } from "./bytes.ts";
import type { Comparison } from "./finding.ts";
import { keccak256, nameHash } from "./keccak.ts";
import { bigEndian, bytesOf, integerOf, itemsOf, malformed, list as rlpList } from "./rlp.ts";
import { count, hash, list, type Of, object, type Shape } from "./shape.ts";
import { valueAt } from "./trie.ts";

/** Bytes as Ethereum writes them: `0x` and lower-case digits, two a byte, `length` bytes where that is fixed. */
function chainBytes(length?: number): Shape<string> {
  return (value, place) => {
    const right = typeof value === "string" && /^0x(?:[0-9a-f]{2})*$/.test(value);
    if (!right || (length !== undefined && value.length !== 2 + 2 * length)) {
      const digits = length === undefined ? "" : `${2 * length} `;
      throw new Error(`${place}: it must be 0x and ${digits}lower-case hexadecimal digits`);
    }
    return value;
  };
}

const event = object(
  {
    chain_id: count,
    contract: chainBytes(20),
    sender: chainBytes(20),
    block_hash: chainBytes(32),
    header: chainBytes(),
    position: count,
    receipt: list(chainBytes()),
    log_index: count,
  },
  { transaction: object({ hash: chainBytes(32), proof: list(chainBytes()) }) },
);

/** A root of the log on a chain, and the place of the bundle's entry under it. */
export const anchorProof = object({
  anchor: object({ size: count, root: chainBytes(32), event }),
  path: list(hash),
});

export type AnchorProof = Of<typeof anchorProof>;
export type Anchor = AnchorProof["anchor"];

/** What the reader knows from elsewhere; whatever is set must be so. */
export interface Pins {
  /** Hash of the block, from a node or an explorer that the reader trusts. */
  blockHash?: string;
}

/** What an anchor shows. */
export interface Anchored {
  block: bigint;
  /** When the block was made, in seconds since 1970 by its producer. */
  time: bigint;
  /** Whether the block's hash was pinned; if not, nothing ties the block to the chain. */
  pinned: boolean;
  values: Comparison[];
}

/** Reads a block's hash as a person copied it: with capitals, with or without `0x`. Throws if it is none. */
export function parseBlockHash(text: string): string {
  const digits = text.trim().toLowerCase().replace(/^0x/, "");
  if (!/^[0-9a-f]{64}$/.test(digits)) {
    throw new Error("a block's hash has 64 hexadecimal digits, as a block explorer shows it");
  }
  return `0x${digits}`;
}

/** Checks that the block that the anchor names holds its root of the log with this origin, and that the pins hold. */
export function verifyAnchor(anchor: Anchor, origin: string, pins: Pins = {}): Anchored {
  const { event } = anchor;
  const header = readHeader(event);
  const log = readLog(event, header.receipts);
  const [size, root, chain] = log.words as [Bytes, Bytes, Bytes];
  const values: Comparison[] = [
    { label: "block hash", expected: event.block_hash, found: `0x${hex(keccak256(bytes(event.header)))}` },
  ];
  const equal = (label: string, expected: string, found: string) => {
    values.push({ label, expected, found });
    if (expected !== found) throw new Error(`the event's ${label} is ${found}, expected ${expected}`);
  };
  equal("contract", event.contract, `0x${hex(log.address)}`);
  equal("origin", hex(nameHash(origin)), hex(log.indexed));
  equal("size", String(anchor.size), String(number(size)));
  equal("root", anchor.root, `0x${hex(root)}`);
  equal("sender", event.sender, `0x${hex(log.sender)}`);
  equal("chain id", String(event.chain_id), String(number(chain)));
  if (pins.blockHash !== undefined) {
    values.push({ label: "block hash that you gave", expected: pins.blockHash, found: event.block_hash });
    if (pins.blockHash !== event.block_hash) {
      throw new Error(
        `block hash: ${pins.blockHash} is the one you gave, but the anchor has ${event.block_hash}`,
      );
    }
  }
  return { block: header.number, time: header.time, pinned: pins.blockHash !== undefined, values };
}

/** Fields of the first headers; later ones have more. */
const FIELDS = 15;

/** The header, which must be that of the block; the transaction, if it is there, is in the block. */
function readHeader({ header, block_hash, position, transaction }: Anchor["event"]) {
  const found = `0x${hex(keccak256(bytes(header)))}`;
  if (found !== block_hash) {
    throw new Error(`the block header hashes to ${found}, not to the block hash ${block_hash}`);
  }
  const what = "block header";
  const fields = rlpList(bytes(header), what);
  if (fields.length < FIELDS) throw malformed(what, "it has fewer than 15 fields");
  if (transaction) {
    const root = bytesOf(fields[4], what, 32);
    const proof = transaction.proof.map(bytes);
    const value = valueAt(root, BigInt(position), proof, "proof of the transaction");
    const name = `0x${hex(keccak256(value))}`;
    if (name !== transaction.hash) {
      throw new Error(`the transaction at that place of the block is ${name}, not ${transaction.hash}`);
    }
  }
  bytesOf(fields[4], what, 32);
  return {
    receipts: bytesOf(fields[5], what, 32),
    number: integerOf(fields[8], what),
    time: integerOf(fields[11], what),
  };
}

const ANCHORED = nameHash("Anchored(address,bytes32,uint64,bytes32,uint256)");

/** The event, from the receipt that is in the block. */
function readLog({ receipt, position, log_index }: Anchor["event"], receipts: Bytes) {
  const value = valueAt(receipts, BigInt(position), receipt.map(bytes), "proof of the receipt");
  const what = "receipt";
  // A type (EIP-2718) is a byte below 0x80; a list never begins with one.
  const fields = rlpList((value[0] ?? 0x80) < 0x80 ? value.subarray(1) : value, what);
  if (fields.length < 4) throw malformed(what, "it has fewer than 4 fields");
  const status = hex(bytesOf(fields[0], what));
  if (status === "") throw new Error("the transaction failed on the chain, so it anchored nothing");
  if (status !== "01") throw malformed(what, "it has no status, as receipts before 2017");
  const logs = itemsOf(fields[3] as NonNullable<(typeof fields)[3]>, what);
  const log = logs[log_index];
  if (!log) throw new Error(`the receipt has ${logs.length} events, so there is none at place ${log_index}`);
  const parts = itemsOf(log, what);
  const [address, topics, data] = parts;
  if (parts.length !== 3 || !topics) throw malformed(what, "an event has other than 3 fields");
  return {
    address: bytesOf(address, what, 20),
    ...readTopics(itemsOf(topics, what).map((topic) => bytesOf(topic, what, 32))),
    words: words(bytesOf(data, what)),
  };
}

function readTopics(topics: Bytes[]) {
  const [kind, padded, indexed] = topics;
  if (topics.length !== 3 || !kind || !padded || !indexed) {
    throw malformed("event", "it has other than 3 topics");
  }
  if (hex(kind) !== hex(ANCHORED)) throw new Error(`the event is of another kind: ${hex(kind)}`);
  if (padded.subarray(0, 12).some((byte) => byte !== 0)) {
    throw malformed("event", "its sender is no address");
  }
  return { sender: padded.subarray(12), indexed };
}

/** Size, root and chain id, 32 bytes each. */
function words(data: Bytes): Bytes[] {
  if (data.length !== 96) throw malformed("event", "its data has another length");
  return [0, 32, 64].map((at) => data.subarray(at, at + 32));
}

/** A number in a word. */
function number(word: Bytes): bigint {
  if (word.subarray(0, 24).some((byte) => byte !== 0)) {
    throw malformed("event", "a number is 2^64 or larger");
  }
  return bigEndian(word.subarray(24));
}

function bytes(text: string): Bytes {
  return fromHex(text.slice(2));
}
