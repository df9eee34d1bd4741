//! Merkle-Patricia proofs (Ethereum yellow paper, appendix D) of an item of a block, by its position.
//!
//! ```text
//! key     = RLP(position in the block), as half bytes
//! branch  = [child of 0, …, child of 15, value]
//! other   = [path, child or value]     first half byte of path: 0, 1 extension; 2, 3 leaf; odd: no padding follows
//! child   = keccak256(node)
//! ```

import { type Bytes, hex } from "./bytes.ts";
import { keccak256 } from "./keccak.ts";
import { bytesOf, encodeInteger, type Item, list, malformed } from "./rlp.ts";

/** The value at `position` of the trie with this root. Every node of the proof is used, none is left over. */
export function valueAt(root: Bytes, position: bigint, proof: Bytes[], what: string): Bytes {
  let rest = halves(encodeInteger(position));
  let expected = hex(root);
  for (const [depth, node] of proof.entries()) {
    if (hex(keccak256(node)) !== expected) {
      throw new Error(`the ${what}: node ${depth} is not the one that is named above it`);
    }
    const items = list(node, what);
    let child: Item | undefined;
    if (items.length === 2) {
      const found = pathOf(bytesOf(items[0], what));
      if (!found) throw malformed(what, "a node's path is not well-formed");
      const { leaf, path } = found;
      if (!path.every((half, at) => rest[at] === half)) throw elsewhere(what);
      rest = rest.slice(path.length);
      if (leaf) {
        if (rest.length > 0) throw elsewhere(what);
        if (depth + 1 < proof.length) throw malformed(what, "nodes follow the last one");
        return bytesOf(items[1], what);
      }
      child = items[1];
    } else if (items.length === 17) {
      const [next] = rest;
      if (next === undefined) throw elsewhere(what);
      rest = rest.slice(1);
      child = items[next];
    } else {
      throw malformed(what, "a node has neither 2 nor 17 items");
    }
    if (child?.kind !== "bytes" || child.payload.length !== 32) {
      throw malformed(what, "there is nothing at that position");
    }
    expected = hex(child.payload);
  }
  throw malformed(what, "its last node is missing");
}

function elsewhere(what: string): Error {
  return malformed(what, "it leads to another position");
}

/** Whether the path is a leaf's, and its half bytes. */
function pathOf(bytes: Bytes): { leaf: boolean; path: number[] } | undefined {
  const [first] = bytes;
  if (first === undefined || first >> 4 > 3) return undefined;
  const leaf = ((first >> 4) & 2) !== 0;
  const odd = ((first >> 4) & 1) !== 0;
  if (!odd && (first & 15) !== 0) return undefined;
  return { leaf, path: [...(odd ? [first & 15] : []), ...halves(bytes.subarray(1))] };
}

function halves(bytes: Uint8Array): number[] {
  return Array.from(bytes).flatMap((byte) => [byte >> 4, byte & 15]);
}
