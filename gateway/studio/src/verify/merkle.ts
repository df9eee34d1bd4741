//! Merkle trees by RFC 6962: hashes, and the checks of inclusion and consistency proofs.

import { type Bytes, concat, fromHex, hex } from "./bytes.ts";
import { sha256 } from "./crypto.ts";

/** A hash that was computed on the way from a leaf to a root. */
export interface Node {
  /** Which side the proof's hash was on. */
  sibling: "left" | "right";
  /** The proof's hash. */
  given: string;
  /** The hash of both. */
  hash: string;
}

/** Where an audit path leads. */
export interface Climb {
  /** The nodes on the way, the last of which is the root. */
  nodes: Node[];
  /** The root that the path leads to. */
  root: string;
}

/** `SHA256(0x00 || entry)`: the hash by which an entry enters a tree. */
export async function leafHash(entry: Bytes): Promise<string> {
  return hex(await sha256(concat(Uint8Array.of(0), entry)));
}

/** `SHA256(0x01 || left || right)`: the hash of an interior node. */
export async function nodeHash(left: string, right: string): Promise<string> {
  return hex(await sha256(concat(Uint8Array.of(1), fromHex(left), fromHex(right))));
}

/**
 * Climbs from `leaf`, at `index` of a tree of `size` leaves, along the audit path `path`. Throws unless the path has the
 * length that index and size ask for. The caller compares the root.
 */
export async function climb(leaf: string, index: bigint, size: bigint, path: string[]): Promise<Climb> {
  if (index >= size) throw new Error(`index ${index} is outside a tree of ${size} leaves`);
  const { inner, border } = shape(index, size);
  rightLength(path, inner + border);
  const nodes: Node[] = [];
  let hash = leaf;
  for (const [i, given] of path.entries()) {
    const sibling = i < inner && bit(index, i) === 0 ? "right" : "left";
    hash = sibling === "right" ? await nodeHash(hash, given) : await nodeHash(given, hash);
    nodes.push({ sibling, given, hash });
  }
  return { nodes, root: hash };
}

/** A size and root hash of a log. */
export interface TreeHead {
  size: bigint;
  root: string;
}

/** Checks that the older tree is the beginning of the newer one (RFC 9162, section 2.1.4.2). Throws if it is not. */
export async function verifyConsistency(older: TreeHead, newer: TreeHead, proof: string[]): Promise<void> {
  if (older.size > newer.size) throw new Error(`size ${older.size} is not older than size ${newer.size}`);
  if (older.size === newer.size || older.size === 0n) {
    rightLength(proof, 0);
    const expected = older.size === 0n ? hex(await sha256(new Uint8Array())) : newer.root;
    return sameRoot(older.root, expected);
  }
  const { inner, border } = shape(older.size - 1n, newer.size);
  // The last perfect subtree of the old tree is common to both. It comes first in the proof, unless it is the old tree.
  let common = 0;
  while (bit(older.size, common) === 0) common++;
  const perfect = older.size === 1n << BigInt(common);
  rightLength(proof, (perfect ? 0 : 1) + inner - common + border);
  const path = perfect ? proof : proof.slice(1);
  const seed = perfect ? older.root : (proof[0] as string);
  let [old, all] = [seed, seed];
  for (const [i, sibling] of path.entries()) {
    const left = i >= inner - common || bit(older.size - 1n, common + i) === 1;
    if (left) old = await nodeHash(sibling, old);
    all = left ? await nodeHash(sibling, all) : await nodeHash(all, sibling);
  }
  sameRoot(older.root, old);
  sameRoot(newer.root, all);
}

/** Lengths of a path's two parts: below and above the point where it joins the tree's right border. */
function shape(index: bigint, size: bigint): { inner: number; border: number } {
  const length = (n: bigint) => (n === 0n ? 0 : n.toString(2).length);
  const inner = length(index ^ (size - 1n));
  const border = (index >> BigInt(inner)).toString(2).replaceAll("0", "").length;
  return { inner, border };
}

function bit(n: bigint, i: number): number {
  return Number((n >> BigInt(i)) & 1n);
}

function rightLength(path: string[], expected: number): void {
  if (path.length !== expected)
    throw new Error(`the proof has ${path.length} hashes where ${expected} are needed`);
}

function sameRoot(expected: string, found: string): void {
  if (expected !== found) throw new Error(`the proof leads to root ${found}, not to ${expected}`);
}
