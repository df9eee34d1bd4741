//! Keccak-256 as Ethereum uses it, which is not SHA3-256. WebCrypto lacks it.

import { keccak_256 } from "@noble/hashes/sha3.js";
import { type Bytes, utf8 } from "./bytes.ts";

/** Keccak-256 of bytes. */
export function keccak256(bytes: Uint8Array): Bytes {
  return Uint8Array.from(keccak_256(bytes));
}

/** What stands for a name on a chain: Keccak-256 of its UTF-8. */
export function nameHash(name: string): Bytes {
  return keccak256(utf8(name));
}
