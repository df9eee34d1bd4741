//! Canonical JSON (RFC 8785): one spelling for every value, so that bytes and meaning are the same thing.

import { fromUtf8, utf8 } from "./bytes.ts";

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Arrays and objects within each other, at most. */
export const MAX_DEPTH = 127;

/**
 * Writes a value in the canonical form. Throws on what JSON libraries disagree about: numbers beyond ±(2^53 - 1) and
 * halves of surrogate pairs; and on more than {@link MAX_DEPTH} levels.
 */
export function canonical(value: Json, depth = 0): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    if (/\p{Surrogate}/u.test(value)) throw new Error("a string holds half of a surrogate pair");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    if (!(Math.abs(value) <= Number.MAX_SAFE_INTEGER))
      throw new Error(`the number ${value} is beyond 2^53 - 1`);
    // ECMAScript's own spelling of numbers is what the RFC prescribes.
    return String(value);
  }
  if (depth === MAX_DEPTH) throw new Error(`it is nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join()}]`;
  // The default order of strings is that of their UTF-16 code units, as the RFC wants.
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${canonical(key)}:${canonical(value[key] as Json, depth + 1)}`).join()}}`;
}

/** Reads JSON whose bytes must be exactly its canonical form; that also excludes duplicate keys. */
export function parseCanonical(bytes: Uint8Array): Json {
  let value: Json;
  let text: string;
  try {
    text = fromUtf8(bytes);
  } catch {
    throw new Error("it is not UTF-8");
  }
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new Error(`it is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  const written = utf8(canonical(value));
  const differs = bytes.findIndex((byte, at) => byte !== written[at]);
  if (differs >= 0 || written.length !== bytes.length) {
    throw new Error(
      `it is not in canonical form: it differs at byte ${differs < 0 ? bytes.length : differs} ` +
        "(a member twice, white space, or another spelling of a value)",
    );
  }
  return value;
}
