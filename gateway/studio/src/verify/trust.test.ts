//! Bundles under cosigned checkpoints, with counters of uses, and after a change of the log's key; all signed here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, base64, concat, fromHex, hex, utf8 } from "./bytes.ts";
import { canonical, type Json } from "./canonical.ts";
import { sha256 } from "./crypto.ts";
import { edited, golden, type Spoiled } from "./golden.ts";
import { leafHash, nodeHash } from "./merkle.ts";
import { verifyBundle } from "./verify.ts";

const ORIGIN = "cairn.example.com/log";
const TIME = 1_767_225_600n;

interface Signer {
  line: string;
  id: string;
  sign: (message: string) => Promise<Bytes>;
}

/** The key of a seed of 32 equal bytes; the golden log's is that of 42. */
async function signer(name: string, seed: number, type = 1): Promise<Signer> {
  const pkcs8 = concat(fromHex("302e020100300506032b657004220420"), new Uint8Array(32).fill(seed));
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  const blob = concat(Uint8Array.of(type), new Uint8Array(Buffer.from(x ?? "", "base64url")));
  const id = hex((await sha256(concat(utf8(`${name}\n`), blob))).subarray(0, 4));
  const sign = async (message: string) =>
    new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, key, utf8(message)));
  return { line: `${name}+${id}+${base64(blob)}`, id, sign };
}

const [first, second, third] = await Promise.all([42, 43, 44].map((seed) => signer(ORIGIN, seed)));
const witnesses = await Promise.all([1, 2].map((seed) => signer(`witness${seed}.example`, seed, 4)));

/** The golden record in a log of two entries, the second of which is `other`; signed by `by` and by witnesses. */
async function bundle(
  by: Signer,
  other: Json,
  change: (bundle: Spoiled) => void = () => {},
  cosigners = witnesses,
) {
  const parsed = JSON.parse(new TextDecoder().decode(golden("bundle.json")));
  parsed.datapoints.pop();
  change(parsed);
  const leaves = [
    await leafHash(utf8(canonical(parsed.record))),
    await leafHash(utf8(canonical(other))),
  ] as const;
  const body = `${ORIGIN}\n2\n${base64(fromHex(await nodeHash(...leaves)))}\n`;
  let note = `${body}\n\u2014 ${ORIGIN} ${base64(concat(fromHex(by.id), await by.sign(body)))}\n`;
  for (const { line, id, sign } of cosigners) {
    const time = new Uint8Array(8);
    new DataView(time.buffer).setBigUint64(0, TIME);
    const signature = await sign(`cosignature/v1\ntime ${TIME}\n${body}`);
    note += `\u2014 ${line.split("+")[0]} ${base64(concat(fromHex(id), time, signature))}\n`;
  }
  parsed.key = by.line;
  parsed.log = { index: 0, path: [leaves[1]], checkpoint: note };
  if (cosigners.length > 0) parsed.log.witnesses = cosigners.map(({ line }) => line);
  return { parsed, first: leaves[0] };
}

function file(parsed: Json): Bytes {
  return utf8(`${canonical(parsed)}\n`);
}

async function code(parsed: Json, key: string | null): Promise<string> {
  const { verdict, failed, trouble } = await verifyBundle(file(parsed), key);
  return failed?.code ?? trouble ?? verdict;
}

test("the golden key is the one of its seed", async () => {
  assert.equal(first?.line, new TextDecoder().decode(golden("cairn.pub")).trim());
});

test("cosignatures are checked one by one", async () => {
  assert.ok(first);
  const { parsed } = await bundle(first, "x");
  const result = await verifyBundle(file(parsed), first.line);
  assert.equal(result.verdict, "proved");
  const step = result.steps.find(({ id }) => id === "log.witnesses");
  assert.match(step?.detail ?? "", /witness1\.example at 2026-01-01T00:00:00\.000Z, witness2\.example/);
  const log = parsed.log;
  const lines: string[] = log.checkpoint.split("\n");
  const cases: [string, object][] = [
    ["witness_count", { witnesses: log.witnesses.slice(1) }],
    ["cosignature", { witnesses: log.witnesses.toReversed() }],
    ["cosignature", { witnesses: [first.line, log.witnesses[1]] }],
    ["form", { witnesses: [] }],
    ["witness_count", { checkpoint: lines.toSpliced(5, 1).join("\n") }],
    ["checkpoint", { checkpoint: lines.toSpliced(5, 2, lines[6] as string, lines[5] as string).join("\n") }],
    ["checkpoint", { checkpoint: lines.toSpliced(5, 0, lines[5] as string).join("\n") }],
    ["checkpoint", { checkpoint: lines.toSpliced(4, 1).join("\n") }],
    ["cosignature", { checkpoint: log.checkpoint.replace(/[^A](.)=\n$/, "A$1=\n") }],
  ];
  for (const [expected, change] of cases) {
    assert.equal(
      await code({ ...parsed, log: { ...log, ...change } }, first.line),
      expected,
      JSON.stringify(change),
    );
  }
});

test("either key leads across a change of key, and no other does", async () => {
  assert.ok(first && second && third);
  const message = [
    "cairn/rotation/v1",
    ORIGIN,
    "1",
    first.line,
    second.line,
    "2026-05-06T07:08:09Z",
    "",
  ].join("\n");
  const rotation = {
    type: "cairn/rotation/v1",
    origin: ORIGIN,
    size: 1,
    previous: first.line,
    next: second.line,
    time: "2026-05-06T07:08:09Z",
    by_previous: base64(await first.sign(message)),
    by_next: base64(await second.sign(message)),
  };
  const { parsed, first: leaf } = await bundle(second, rotation);
  const log = { ...parsed.log, rotations: [{ path: [leaf], rotation }] };
  const carried = { ...parsed, log };
  for (const key of [first, second]) assert.equal(await code(carried, key.line), "proved");
  assert.equal(await code(carried, null), "unconfirmed");
  assert.equal(await code(carried, third.line), "rotation");
  // Without the rotation in the bundle it must be in the key file.
  assert.equal(await code(parsed, first.line), "wrong_key");
  assert.equal(await code(parsed, `${first.line}\n${canonical(rotation)}\n`), "proved");
  assert.match(await code(parsed, `${third.line}\n${canonical(rotation)}\n`), /no public key of a log/);
  // The old key has no say beyond the change, and neither side can be left out.
  const { parsed: late } = await bundle(first, rotation);
  assert.equal(
    await code({ ...late, log: { ...late.log, rotations: log.rotations } }, first.line),
    "checkpoint",
  );
  for (const change of [
    { time: "2026-05-06T07:08:10Z" },
    { size: 0 },
    { by_next: rotation.by_previous },
    { next: third.line },
  ]) {
    const rotations = [{ path: [leaf], rotation: { ...rotation, ...change } }];
    assert.equal(await code({ ...parsed, log: { ...log, rotations } }, second.line), "rotation");
  }
  const elsewhere = [{ path: ["0".repeat(64)], rotation }];
  assert.equal(
    await code({ ...parsed, log: { ...log, rotations: elsewhere } }, second.line),
    "rotation_not_in_log",
  );
});

test("every passage is counted once, in order", async () => {
  assert.ok(first);
  const one = { contributor: "1".repeat(64), count: 1, passages: [1] };
  const two = { contributor: "2".repeat(64), count: 7, passages: [2] };
  const cases: [string, object[]][] = [
    ["proved", [one, two]],
    ["proved", [{ ...one, passages: [1, 2] }]],
    ["record", []],
    ["record", [one]],
    ["record", [two, one]],
    ["record", [one, { ...two, passages: [1] }]],
    ["record", [one, { ...two, passages: [] }, { ...two, contributor: "3".repeat(64) }]],
    ["record", [{ ...one, passages: [2, 1] }]],
    ["record", [{ ...one, count: 0 }, two]],
    ["record", [one, { ...two, contributor: one.contributor }]],
    ["form", [one, { ...two, name: "Ada" }]],
  ];
  for (const [expected, uses] of cases) {
    const { parsed } = await bundle(first, "x", (b) => Object.assign(b.record, { uses }), []);
    assert.equal(await code(parsed, first.line), expected, JSON.stringify(uses));
  }
});

test("what later versions add is refused, not ignored", async () => {
  assert.equal(
    (
      await verifyBundle(
        edited((b) => Object.assign(b.log, { anchors: [] })),
        null,
      )
    ).failed?.code,
    "form",
  );
});
