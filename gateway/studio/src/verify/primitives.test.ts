//! Canonical JSON, trees, keys, checkpoints and commitments, against published vectors and against plain definitions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { citedWords, commitmentOf } from "./bundle.ts";
import { base64, concat, fromBase64, fromHex, hex, utf8 } from "./bytes.ts";
import { canonical, type Json, parseCanonical } from "./canonical.ts";
import { parseCheckpoint, parsePublicKey, verifyCheckpoint } from "./checkpoint.ts";
import { ed25519, hmac, sha256 } from "./crypto.ts";
import { parseEntry } from "./entry.ts";
import { golden } from "./golden.ts";
import { climb, leafHash, nodeHash, verifyConsistency } from "./merkle.ts";

test("canonical JSON is that of RFC 8785", () => {
  // The sorting example of section 3.2.3.
  const keys = { "\u20ac": 1, "\r": 1, "\ufb33": 1, "1": 1, "\u{1f600}": 1, "\u0080": 1, "\u00f6": 1 };
  const sorted = [...canonical(keys).matchAll(/"(.*?)":/g)].map((match) => match[1]);
  assert.deepEqual(sorted, ["\\r", "1", "\u0080", "\u00f6", "\u20ac", "\u{1f600}", "\ufb33"]);
  // Numbers of its appendix B that lie within the limits, by their bits.
  const numbers: [bigint, string][] = [
    [0x0n, "0"],
    [0x8000000000000000n, "0"],
    [0x1n, "5e-324"],
    [0x8000000000000001n, "-5e-324"],
    [0x41b3de4355555553n, "333333333.3333332"],
    [0x41b3de4355555554n, "333333333.33333325"],
    [0xbecbf647612f3696n, "-0.0000033333333333333333"],
    [0x3eb0c6f7a0b5ed8dn, "0.000001"],
  ];
  for (const [bits, text] of numbers) {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, bits);
    assert.equal(canonical(view.getFloat64(0)), text);
  }
  assert.equal(
    canonical('\u0000\b\t\n\f\r\u001f"\\/\u007f\u2028'),
    '"\\u0000\\b\\t\\n\\f\\r\\u001f\\"\\\\/\u007f\u2028"',
  );
  for (const bad of [2 ** 53, -(2 ** 53), Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => canonical(bad));
});

test("only canonical JSON is read", () => {
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  for (const good of [
    '{"a":1,"b":[2.5]}',
    '""',
    "[9007199254740991,-9007199254740991]",
    '{"__proto__":{"a":1}}',
    nested(127),
  ]) {
    assert.equal(canonical(parseCanonical(utf8(good))), good);
  }
  const bad = [
    '{"b":1,"a":1}',
    '{"a":1,"a":1}',
    '{ "a":1}',
    "1.0",
    "-0",
    "1e0",
    '"\\u0061"',
    '"\\/"',
    "{}\n",
    "\ufeff{}",
    "NaN",
  ];
  for (const text of [
    ...bad,
    '{"\\udc00":1}',
    "9007199254740992",
    "1e400",
    '"\\ud800"',
    "",
    "[1,]",
    "1 2",
    nested(128),
  ]) {
    assert.throws(() => parseCanonical(utf8(text)), Error, text);
  }
  assert.throws(() => parseCanonical(Uint8Array.of(0x22, 0xff, 0x22)), /UTF-8/);
  assert.throws(() => parseCanonical(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22)), /UTF-8/);
});

test("base64 has one spelling", () => {
  assert.deepEqual(fromBase64("AQI="), Uint8Array.of(1, 2));
  for (const bad of ["AQI", "AQJ=", "AQI==", "AQ I=", "AQI=\n", "A-_=", "===="])
    assert.equal(fromBase64(bad), null, bad);
  assert.equal(base64(fromHex("00ff10")), "AP8Q");
});

/** `MTH` as RFC 6962 defines it. */
async function treeRoot(leaves: string[]): Promise<string> {
  if (leaves.length === 0) return hex(await sha256(new Uint8Array()));
  if (leaves.length === 1) return leaves[0] as string;
  const k = split(leaves.length);
  return nodeHash(await treeRoot(leaves.slice(0, k)), await treeRoot(leaves.slice(k)));
}

/** `PATH` as RFC 6962 defines it. */
async function auditPath(index: number, leaves: string[]): Promise<string[]> {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)];
  return index < k
    ? [...(await auditPath(index, left)), await treeRoot(right)]
    : [...(await auditPath(index - k, right)), await treeRoot(left)];
}

/** `SUBPROOF` as RFC 6962 defines it. */
async function subproof(old: number, leaves: string[], whole: boolean): Promise<string[]> {
  if (old === leaves.length) return whole ? [] : [await treeRoot(leaves)];
  const k = split(leaves.length);
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)];
  return old <= k
    ? [...(await subproof(old, left, whole)), await treeRoot(right)]
    : [...(await subproof(old - k, right, false)), await treeRoot(left)];
}

function split(size: number): number {
  let k = 1;
  while (k * 2 < size) k *= 2;
  return k;
}

const SIZES = 24;
const leaves = await Promise.all(Array.from({ length: SIZES }, (_, i) => leafHash(Uint8Array.of(i))));
const roots = await Promise.all(
  Array.from({ length: SIZES + 1 }, (_, size) => treeRoot(leaves.slice(0, size))),
);

test("the hashes are those of Certificate Transparency", async () => {
  assert.equal(
    await leafHash(new Uint8Array()),
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  );
  const three = await Promise.all(["", "00", "10"].map((digits) => leafHash(fromHex(digits))));
  assert.equal(await treeRoot(three), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
});

test("every leaf of every tree proves, and nothing else does", async () => {
  for (let size = 1; size <= SIZES; size++) {
    for (let index = 0; index < size; index++) {
      const path = await auditPath(index, leaves.slice(0, size));
      const [leaf, root] = [leaves[index] as string, roots[size]];
      const proves = async (leaf: string, index: number, size: number, path: string[]) => {
        try {
          return (await climb(leaf, BigInt(index), BigInt(size), path)).root === root;
        } catch {
          return false;
        }
      };
      assert.ok(await proves(leaf, index, size, path), `${index} of ${size}`);
      assert.ok(!(await proves(leaves[(index + 1) % SIZES] as string, index, size, path)));
      assert.ok(!(await proves(leaf, size, size, path)));
      assert.ok(!(await proves(leaf, index, size, [...path, leaf])));
      if (path.length === 0) continue;
      assert.ok(!(await proves(leaf, index, size, path.slice(1))));
      assert.ok(!(await proves(leaf, index ^ 1, size, path)), `${index ^ 1} for ${index} of ${size}`);
      for (const at of path.keys()) {
        assert.ok(
          !(await proves(leaf, index, size, path.with(at, leaf))),
          `hash ${at} of ${index} of ${size}`,
        );
      }
    }
  }
});

test("every tree is consistent with its beginnings, and with nothing else", async () => {
  const head = (size: number, root = roots[size] as string) => ({ size: BigInt(size), root });
  for (let size = 0; size <= SIZES; size++) {
    for (let old = 0; old <= size; old++) {
      const proof = old === 0 ? [] : await subproof(old, leaves.slice(0, size), true);
      await verifyConsistency(head(old), head(size), proof);
      const wrong = "f".repeat(64);
      await assert.rejects(verifyConsistency(head(old, wrong), head(size), proof), `${old} to ${size}`);
      await assert.rejects(verifyConsistency(head(old), head(size), [...proof, wrong]));
      // Everything is consistent with the empty tree.
      if (old > 0) await assert.rejects(verifyConsistency(head(old), head(size, wrong), proof));
      for (const at of proof.keys())
        await assert.rejects(verifyConsistency(head(old), head(size), proof.with(at, wrong)));
    }
    await assert.rejects(verifyConsistency(head(size + 1, roots[0]), head(size), []));
  }
});

test("sizes beyond 2^53 are exact", async () => {
  const size = 2n ** 60n + 1n;
  const [leaf] = leaves as [string];
  const { root } = await climb(leaf, size - 1n, size, [leaf]);
  assert.equal(root, await nodeHash(leaf, leaf));
  await assert.rejects(climb(leaf, size - 2n, size, [leaf]), /61 are needed/);
});

test("the golden checkpoint and key, changed in any byte, are refused", async () => {
  const text = new TextDecoder().decode(golden("checkpoint"));
  const line = new TextDecoder().decode(golden("cairn.pub"));
  const key = await parsePublicKey(line.trimEnd());
  await verifyCheckpoint(parseCheckpoint(text), key);
  for (const at of text.split("").keys()) {
    const changed = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
    await assert.rejects(
      async () => verifyCheckpoint(parseCheckpoint(changed), key),
      Error,
      `character ${at}`,
    );
  }
  for (const at of line.trimEnd().split("").keys()) {
    const changed = line.slice(0, at) + String.fromCharCode(line.charCodeAt(at) ^ 1) + line.slice(at + 1);
    await assert.rejects(parsePublicKey(changed), Error, `character ${at}`);
  }
});

test("Ed25519 is that of RFC 8032, and strict", async () => {
  // Test 2 of section 7.1.
  const key = fromHex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const signature = fromHex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  );
  assert.ok(await ed25519(key, signature, Uint8Array.of(0x72)));
  assert.ok(!(await ed25519(key, signature, Uint8Array.of(0x73))));
  // S + L is the same number to a careless verifier.
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const s = BigInt(`0x${hex(signature.slice(32).reverse())}`) + order;
  const other = concat(signature.subarray(0, 32), fromHex(s.toString(16).padStart(64, "0")).reverse());
  assert.ok(!(await ed25519(key, other, Uint8Array.of(0x72))));
  // The neutral element as key and as R, with S = 0, "signs" every message for a verifier that lets small orders in.
  const neutral = fromHex(`01${"00".repeat(31)}`);
  const forged = concat(neutral, new Uint8Array(32));
  const imported = await crypto.subtle.importKey("raw", neutral, { name: "Ed25519" }, false, ["verify"]);
  assert.ok(await crypto.subtle.verify({ name: "Ed25519" }, imported, forged, utf8("anything")));
  assert.ok(!(await ed25519(neutral, forged, utf8("anything"))));
});

test("the commitment of the format's description", async () => {
  const salt = await hmac(new Uint8Array(32).fill(3), utf8("text"));
  const expected = "68c1769061cea4a46a84368e8ba95b905fa69ed26a6e128f00394ccd0b8d5fe8";
  assert.equal(await commitmentOf({ salt: hex(salt), value: "v" }), expected);
  assert.notEqual(await commitmentOf({ salt: hex(salt), value: "w" }), expected);
});

test("citations count Unicode scalar values", () => {
  const cite = (response: Json, end: number) =>
    citedWords(response, { choice: 0, n: 1, start: 0, end, kind: "marker", score: null });
  assert.equal(cite([{ message: { content: "\u{1f600}a" } }], 2), "\u{1f600}a");
  assert.equal(cite({ choices: [{ text: "abc" }] }, 2), "ab");
  assert.throws(() => cite([{ message: { content: "\u{1f600}a" } }], 3), { code: "citation_outside" });
  // Where there is a content, the text is not looked at.
  for (const none of [
    [],
    {},
    "text",
    null,
    [null],
    { choices: {} },
    [{ message: { content: null }, text: "abc" }],
  ]) {
    assert.throws(() => cite(none as Json, 1), { code: "no_such_choice" });
  }
});

test("entries of the log are told apart and held to their members", () => {
  const zero = "0".repeat(64);
  const entry = (value: Json) => parseEntry(utf8(canonical(value)));
  const tombstone = {
    type: "cairn/tombstone/v1",
    datanet: "law",
    seq: 1,
    leaf: zero,
    time: "2026-01-01T00:00:00Z",
  };
  const adapter = {
    type: "cairn/adapter/v1",
    key: "k",
    action: "publish",
    base: "b",
    owner: "o",
    actor: "a",
    at: "t",
  };
  assert.equal(entry(tombstone).type, "cairn/tombstone/v1");
  // The golden run names its grant; those that were logged before grants were named do not.
  const trained = JSON.parse(new TextDecoder().decode(golden("trained.json"))).entry;
  const [source] = trained.sources;
  const { grant, ...unnamed } = source;
  assert.match(grant, /^[0-9a-f]{64}$/);
  for (const sources of [[source], [unnamed], [unnamed, source]]) {
    assert.equal(entry({ ...trained, sources }).type, "cairn/training/v1");
  }
  const { size: _, ...torn } = source;
  for (const bad of [
    { ...trained, sources: [{ ...source, consent: "own" }] },
    { ...trained, sources: [{ ...source, grant: "x" }] },
    { ...trained, sources: [torn] },
    { ...trained, sources: [] },
    { ...trained, time: "yesterday" },
    { ...trained, rows: { ...trained.rows, learnt: 0 } },
  ]) {
    assert.throws(() => entry(bad as Json), Error, JSON.stringify(bad));
  }
  assert.equal(entry({ ...adapter, alias: "law", generation: zero, percent: 5 }).type, "cairn/adapter/v1");
  for (const bad of [
    { ...tombstone, seq: -1 },
    { ...tombstone, x: 1 },
    { ...adapter, alias: null },
    { ...adapter, percent: 256 },
    { type: "x" },
    [],
  ]) {
    assert.throws(() => entry(bad as Json), Error, JSON.stringify(bad));
  }
});
