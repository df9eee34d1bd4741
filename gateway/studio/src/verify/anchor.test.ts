//! Anchors: the golden bundle with one, an anchor that a real node's blocks gave, and every way to change them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Anchor, anchorProof, parseBlockHash, verifyAnchor } from "./anchor.ts";
import { fromHex, hex, utf8 } from "./bytes.ts";
import { canonical, type Json } from "./canonical.ts";
import { golden, type Spoiled } from "./golden.ts";
import { keccak256 } from "./keccak.ts";
import { encodeInteger, integerOf, list } from "./rlp.ts";
import { verifyBundle } from "./verify.ts";

const bytes = golden("anchored.json");
const key = new TextDecoder().decode(golden("cairn.pub"));
const zero = "0".repeat(64);
const block = "0x1879a57ffaef0c758f7e315307bed7bc41407f858efbd2691866ee6732fda957";

const parsed = (): Spoiled => JSON.parse(new TextDecoder().decode(bytes));

function spoiled(change: (bundle: Spoiled) => void): Uint8Array {
  const bundle = parsed();
  change(bundle);
  return utf8(`${canonical(bundle)}\n`);
}

const real = "../../../../index/anchor/proof/tests/golden/anchor.json";
const node: Anchor = JSON.parse(
  readFileSync(path.join(path.dirname(fileURLToPath(import.meta.url)), real), "utf8"),
);
const ORIGIN = "example.com/log";

test("an anchor without a pinned block holds, and says what is left to the reader", async () => {
  const result = await verifyBundle(bytes, key);
  assert.equal(result.verdict, "proved");
  const step = result.steps.find(({ id }) => id === "log.anchor");
  assert.equal(step?.status, "unconfirmed");
  assert.match(step?.detail ?? "", /first 262 entries .* Whether block 0x1879.* is for you to compare/);
  assert.ok(step?.values.every(({ expected, found }) => expected === found));
  assert.equal(step?.path.at(-1)?.hash, parsed().log.anchor.anchor.root.slice(2));
  assert.ok(result.notShown.some((line) => line.includes(block)));
  assert.ok(result.notShown.some((line) => line.includes("Any contract")));
});

test("with the block's hash from elsewhere it is proved, and with another one it is not", async () => {
  const pinned = await verifyBundle(bytes, key, () => {}, { blockHash: block });
  assert.equal(pinned.verdict, "proved");
  const step = pinned.steps.find(({ id }) => id === "log.anchor");
  assert.equal(step?.status, "passed");
  assert.match(step?.detail ?? "", /it existed by then/);
  assert.ok(!pinned.notShown.some((line) => line.includes("look it up")));
  const other = await verifyBundle(bytes, key, () => {}, { blockHash: `0x${zero}` });
  assert.deepEqual([other.verdict, other.failed?.id, other.failed?.code], ["failed", "log.anchor", "anchor"]);
});

test("a block's hash is taken as people copy it", () => {
  for (const text of [block, block.slice(2), ` ${block.toUpperCase().replace("0X", "0x")} `]) {
    assert.equal(parseBlockHash(text), block);
  }
  for (const bad of ["", "0x", block.slice(0, -1), `${block}0`, "x".repeat(64)]) {
    assert.throws(() => parseBlockHash(bad));
  }
});

test("no flipped bit of the anchor verifies", async () => {
  const text = new TextDecoder().decode(bytes);
  const start = text.indexOf('"anchor":');
  const end = text.indexOf('"checkpoint":');
  assert.ok(end > start + 2000);
  for (let at = start; at < end; at++) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    assert.equal((await verifyBundle(flipped, key)).verdict, "failed", `byte ${at}`);
  }
});

const changes: [string, (anchor: Spoiled) => void, string][] = [
  ["/size", (a) => (a.anchor.size = 261), "anchor"],
  ["/root", (a) => (a.anchor.root = `0x${zero}`), "anchor"],
  ["/path", (a) => (a.path[0] = zero), "not_anchored"],
  ["a path too long", (a) => a.path.push(zero), "not_anchored"],
  ["no path", (a) => (a.path = []), "not_anchored"],
  ["another contract", (a) => (a.anchor.event.contract = `0x${"3".repeat(40)}`), "anchor"],
  ["another sender", (a) => (a.anchor.event.sender = `0x${"3".repeat(40)}`), "anchor"],
  ["another chain", (a) => (a.anchor.event.chain_id = 1), "anchor"],
  ["another place", (a) => (a.anchor.event.position = 1), "anchor"],
  ["another event", (a) => (a.anchor.event.log_index = 1), "anchor"],
  ["a node more", (a) => a.anchor.event.receipt.push(a.anchor.event.receipt[0]), "anchor"],
  ["no node", (a) => (a.anchor.event.receipt = []), "anchor"],
  [
    "a transaction that is none",
    (a) => (a.anchor.event.transaction = { hash: `0x${zero}`, proof: [] }),
    "anchor",
  ],
  ["capitals", (a) => (a.anchor.event.contract = a.anchor.event.contract.replace("0x", "0X")), "form"],
  ["one more member", (a) => (a.anchor.event.note = 1), "form"],
  ["half a byte", (a) => (a.anchor.event.header += "0"), "form"],
];

test("every change of an anchor is named by its step", async () => {
  for (const [what, change, code] of changes) {
    const result = await verifyBundle(
      spoiled((bundle) => change(bundle.log.anchor)),
      key,
    );
    assert.deepEqual([result.verdict, result.failed?.code], ["failed", code], what);
    if (code !== "form") assert.equal(result.failed?.id, "log.anchor", what);
  }
  for (const anchor of [null, [], {}, { anchor: {}, path: [] }] as Json[]) {
    const odd = await verifyBundle(
      spoiled((bundle) => (bundle.log.anchor = anchor)),
      key,
    );
    assert.equal(odd.failed?.code, "form");
  }
});

test("an anchor left out is redaction", async () => {
  const without = await verifyBundle(
    spoiled((bundle) => delete bundle.log.anchor),
    key,
  );
  assert.equal(without.verdict, "proved");
  assert.ok(!without.steps.some(({ id }) => id === "log.anchor"));
});

test("one size with two roots convicts the operator", async () => {
  // Both roots are in order by themselves: a chain and an anchor of another tree of the checkpoint's size.
  const size = Number(parsed().log.checkpoint.split("\n")[1]);
  const anchor = parsed().log.anchor;
  const forged = forge(anchor.anchor, size, zero);
  const result = await verifyBundle(
    spoiled((bundle) => (bundle.log.anchor = { anchor: forged, path: [] })),
    key,
  );
  assert.equal(result.failed?.code, "anchor_contradicts");
});

/** An anchor of another root in a block made up for it, with a receipt trie of one leaf. */
function forge(anchor: Anchor, size: number, root: string): Anchor {
  const word = (value: number) => value.toString(16).padStart(64, "0");
  const [node] = anchor.event.receipt as [string];
  const old = word(anchor.size) + anchor.root.slice(2);
  assert.equal(node.split(old).length, 2);
  const receipt = node.replace(old, word(size) + root);
  const before = hex(keccak256(fromHex(node.slice(2))));
  const after = hex(keccak256(fromHex(receipt.slice(2))));
  const header = anchor.event.header.replace(before, after);
  const block_hash = `0x${hex(keccak256(fromHex(header.slice(2))))}`;
  return { size, root: `0x${root}`, event: { ...anchor.event, block_hash, header, receipt: [receipt] } };
}

test("an anchor of a real node holds with its transaction, and no bit of it is free", () => {
  anchorProof({ anchor: node as unknown as Json, path: [] }, "");
  assert.ok(node.event.transaction);
  const { block, pinned } = verifyAnchor(node, ORIGIN, { blockHash: node.event.block_hash });
  assert.ok(block > 0n && pinned);
  const refused = (change: (anchor: Spoiled) => void) => {
    const other = structuredClone(node);
    change(other);
    assert.throws(() => verifyAnchor(other, ORIGIN), JSON.stringify(other));
  };
  assert.throws(() => verifyAnchor(node, "example.com/other"));
  const flip = (text: string, at: number, bit: number) => {
    const flipped = fromHex(text.slice(2));
    flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
    return `0x${hex(flipped)}`;
  };
  const every = (text: string, set: (anchor: Spoiled, next: string) => void) => {
    for (let at = 0; at < (text.length - 2) / 2; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) refused((anchor) => set(anchor, flip(text, at, bit)));
    }
  };
  every(node.event.header, (a, next) => (a.event.header = next));
  for (const [n, one] of node.event.receipt.entries()) every(one, (a, next) => (a.event.receipt[n] = next));
  for (const [n, one] of node.event.transaction.proof.entries()) {
    every(one, (a, next) => (a.event.transaction.proof[n] = next));
  }
  every(node.root, (a, next) => (a.root = next));
  every(node.event.block_hash, (a, next) => (a.event.block_hash = next));
  every(node.event.contract, (a, next) => (a.event.contract = next));
  every(node.event.sender, (a, next) => (a.event.sender = next));
  every(node.event.transaction.hash, (a, next) => (a.event.transaction.hash = next));
  refused((a) => (a.event.receipt = a.event.transaction.proof));
  refused((a) => (a.event.transaction.proof = a.event.receipt));
});

test("RLP has one spelling", () => {
  const digits = (text: string) => fromHex(text);
  assert.deepEqual(
    list(digits("c88363617483646f67"), "t").map(({ payload }) => new TextDecoder().decode(payload)),
    ["cat", "dog"],
  );
  assert.equal(list(digits("c7c0c1c0c3c0c1c0"), "t").length, 3);
  for (const value of [0n, 1n, 0x7fn, 0x80n, 0x400n, (1n << 64n) - 1n]) {
    const encoded = encodeInteger(value);
    const [item] = list(Uint8Array.of(0xc0 + encoded.length, ...encoded), "t");
    assert.equal(integerOf(item, "t"), value);
  }
  const long = (head: string, length: number) => head + "07".repeat(length);
  for (const bad of [
    "c28105",
    long("f837", 55),
    long("f9003c", 60),
    "c3836162",
    "c5836162",
    "c000",
    long("ff".repeat(9), 20),
    "",
    "83646f67",
  ]) {
    assert.throws(() => list(digits(bad), "t"), bad);
  }
});
