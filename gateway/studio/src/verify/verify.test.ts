//! The golden bundle, and every way we could think of to change it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { utf8 } from "./bytes.ts";
import type { Json } from "./canonical.ts";
import { changed, edited, golden, type Spoiled } from "./golden.ts";
import { type Step, verifyBundle } from "./verify.ts";

const bytes = golden("bundle.json");
const key = new TextDecoder().decode(golden("cairn.pub"));
const zero = "0".repeat(64);

test("the golden bundle is proved, step by step", async () => {
  const seen: Step[] = [];
  const result = await verifyBundle(bytes, key, (step) => void seen.push(step));
  assert.equal(result.verdict, "proved");
  assert.ok(result.steps.every(({ status }) => status === "passed"));
  // Each step is announced when it begins and when it ends.
  assert.deepEqual(
    seen.map(({ id, status }) => `${id} ${status}`),
    result.steps.flatMap(({ id }) => [`${id} running`, `${id} passed`]),
  );
  assert.equal(new Set(result.steps.map(({ id }) => id)).size, result.steps.length);
  for (const { values } of result.steps)
    for (const { expected, found } of values) assert.equal(found, expected);
  const log = result.steps.find(({ id }) => id === "log.path");
  assert.equal(log?.path.length, 5);
  assert.equal(log?.path.at(-1)?.hash, "ab89c9959d1c8af4d60693f843811dbf5427717f2d4d4704829e96a73982fef6");
  const cited = result.steps.find(({ id }) => id === "record.citations[0]");
  assert.match(cited?.detail ?? "", /^"Notice must be given within thirty days \u{1f5d3}" cites passage 1/u);
  const erased = result.steps.find(({ id }) => id === "datapoints[2].erased");
  assert.match(erased?.detail ?? "", /erased on 2026-03-01T00:00:00Z/);
  assert.match(result.notShown[0] ?? "", /the caller/);
});

test("without a key nothing is proved", async () => {
  const result = await verifyBundle(bytes, null);
  assert.equal(result.verdict, "unconfirmed");
  const steps = result.steps
    .filter(({ status }) => status !== "passed")
    .map(({ id, status }) => [id, status]);
  assert.deepEqual(steps, [["key", "unconfirmed"]]);
});

test("a key file that holds no key is trouble, not a verdict", async () => {
  const line = key.trim();
  const twisted = line.replace("+f4776675+", "+f4776676+");
  for (const bad of [
    "",
    "x",
    new TextDecoder().decode(bytes),
    twisted,
    `${line}=`,
    ` ${line}`,
    line.toUpperCase(),
  ]) {
    const result = await verifyBundle(bytes, bad);
    assert.equal(result.verdict, "trouble", bad);
    assert.match(result.trouble ?? "", /no public key/);
  }
  assert.equal((await verifyBundle(bytes, line)).verdict, "proved");
});

test("no flipped bit verifies", async () => {
  for (let at = 0; at < bytes.length; at++) {
    // One bit at every byte; at every seventh also the bit of upper case, the bit beyond ASCII, and all.
    for (const mask of at % 7 === 0 ? [0x01, 0x20, 0x80, 0xff] : [0x01]) {
      const flipped = Uint8Array.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ mask;
      const { verdict } = await verifyBundle(flipped, key);
      assert.equal(verdict, "failed", `byte ${at} xor ${mask}`);
      if (at % 7 === 0)
        assert.equal((await verifyBundle(flipped, null)).verdict, "failed", `byte ${at}, no key`);
    }
  }
});

test("no deleted, inserted or replaced byte verifies", async () => {
  for (let at = 0; at <= bytes.length; at += 7) {
    const parts = [bytes.subarray(0, at), bytes.subarray(at), bytes.subarray(at + 1)] as const;
    for (const byte of [0x20, 0x0a, 0x30]) {
      const inserted = Uint8Array.of(...parts[0], byte, ...parts[1]);
      assert.equal((await verifyBundle(inserted, key)).verdict, "failed", `${byte} inserted at ${at}`);
      if (at === bytes.length || bytes[at] === byte) continue;
      const replaced = Uint8Array.of(...parts[0], byte, ...parts[2]);
      assert.equal((await verifyBundle(replaced, key)).verdict, "failed", `${byte} in place of byte ${at}`);
    }
    if (at === bytes.length) continue;
    assert.equal((await verifyBundle(parts[0], key)).verdict, "failed", `cut at ${at}`);
    const deleted = Uint8Array.of(...parts[0], ...parts[2]);
    assert.equal((await verifyBundle(deleted, key)).verdict, "failed", `byte ${at} deleted`);
  }
});

const other = "cairn.example.com/log+cd67c4f0+AYqI49089cpLLjNrwIKxJvaLEOjTSLjvDr8uTdTT+1u3";

// A changed value, the step that must name it, and the code that `cairn-verify --json` gives.
const values: [string, Json, string, string][] = [
  ["/type", "cairn/bundle/v2", "file", "form"],
  ["/key", other, "key", "wrong_key"],
  ["/log/index", 259, "log.path", "record_not_in_log"],
  ["/log/index", 265, "log.path", "record_not_in_log"],
  ["/log/index", -1, "file", "form"],
  ["/log/index", 1.5, "file", "form"],
  ["/log/path/0", zero, "log.path", "record_not_in_log"],
  ["/log/path/0", zero.slice(1), "file", "form"],
  ["/log/path", [], "log.path", "record_not_in_log"],
  ["/log/checkpoint", "x", "log.checkpoint", "checkpoint"],
  ["/record/model", "large", "log.path", "record_not_in_log"],
  ["/record/base_weights", zero, "log.path", "record_not_in_log"],
  ["/record/citations", [], "log.path", "record_not_in_log"],
  ["/record/citations/0/n", 7, "record", "record"],
  ["/record/citations/0/end", 0, "record", "record"],
  ["/record/time", "2026-02-03T04:05:06+00:00", "record", "record"],
  ["/record/retrieval/candidates/0/seq", 7, "record", "record"],
  ["/record/retrieval/candidates/3/vector_score", "0.900000", "log.path", "record_not_in_log"],
  ["/record/retrieval/candidates/3/vector_score", 0.9, "file", "form"],
  ["/record/retrieval/datanets/0/root", zero, "log.path", "record_not_in_log"],
  ["/datapoints/0/n", 2, "datapoints[0].commitment", "number_mismatch"],
  ["/datapoints/0/n", null, "datapoints[0].commitment", "number_mismatch"],
  ["/datapoints/0/commitment/licence", "MIT", "datapoints[0].commitment", "leaf_mismatch"],
  ["/datapoints/0/commitment/contributor", zero, "datapoints[0].commitment", "leaf_mismatch"],
  ["/datapoints/0/commitment/seq", 0, "datapoints[0].commitment", "leaf_mismatch"],
  ["/datapoints/0/commitment/seq", 5, "datapoints[0].commitment", "datapoint_not_in_record"],
  ["/datapoints/0/inclusion/index", 4, "datapoints[0].commitment", "number_mismatch"],
  ["/datapoints/0/inclusion/size", 8, "datapoints[0].commitment", "number_mismatch"],
  ["/datapoints/0/inclusion/path/1", zero, "datapoints[0].inclusion", "not_in_snapshot"],
  ["/datapoints/0/inclusion/path", [zero], "datapoints[0].inclusion", "not_in_snapshot"],
  ["/datapoints/0/disclosed/text/value", "Other.", "datapoints[0].disclosed.text", "opening_mismatch"],
  ["/datapoints/0/disclosed/text/salt", zero, "datapoints[0].disclosed.text", "opening_mismatch"],
  ["/datapoints/0/disclosed/text", null, "file", "form"],
  [
    "/datapoints/0/disclosed/contributor/value",
    "Eve",
    "datapoints[0].disclosed.contributor",
    "opening_mismatch",
  ],
  [
    "/datapoints/0/disclosed/metadata/value/weight",
    0.2,
    "datapoints[0].disclosed.metadata",
    "opening_mismatch",
  ],
  ["/datapoints/0/disclosed", {}, "datapoints[0].status", "status_mismatch"],
  ["/datapoints/0/status", "withheld", "datapoints[0].status", "status_mismatch"],
  ["/datapoints/1/status", "erased", "datapoints[1].status", "status_mismatch"],
  ["/datapoints/2/status", "withheld", "datapoints[2].status", "status_mismatch"],
  ["/datapoints/2/erased/index", 262, "datapoints[2].erased", "tombstone_not_in_log"],
  ["/datapoints/2/erased/path/0", zero, "datapoints[2].erased", "tombstone_not_in_log"],
  [
    "/datapoints/2/erased/tombstone/time",
    "2027-01-01T00:00:00Z",
    "datapoints[2].erased",
    "tombstone_not_in_log",
  ],
  ["/datapoints/2/erased/tombstone/seq", 6, "datapoints[2].erased", "tombstone_mismatch"],
  ["/openings/request/value/model", "large", "openings.request", "opening_mismatch"],
  ["/openings/response/salt", zero, "openings.response", "opening_mismatch"],
  ["/openings/query/value", "Notice period", "openings.query", "opening_mismatch"],
  ["/openings/request", null, "file", "form"],
];

const checkpoint: string = JSON.parse(new TextDecoder().decode(bytes)).log.checkpoint;

// A change of structure, the step that must name it, and its code.
const structures: [string, (bundle: Spoiled) => void, string, string][] = [
  ["a passage left out", (b) => b.datapoints.splice(1, 1), "datapoints", "datapoint_missing"],
  ["another order", (b) => b.datapoints.reverse(), "datapoints[1].commitment", "datapoint_order"],
  [
    "one twice",
    (b) => b.datapoints.splice(1, 0, b.datapoints[0]),
    "datapoints[1].commitment",
    "datapoint_order",
  ],
  ["one more member", (b) => (b.note = "x"), "file", "form"],
  ["one member less", (b) => delete b.record.retrieval, "file", "form"],
  ["one more field", (b) => (b.datapoints[0].disclosed.name = "x"), "file", "form"],
  [
    "fields of another datapoint",
    (b) => (b.datapoints[1].disclosed = b.datapoints[0].disclosed),
    "datapoints[1].disclosed.text",
    "opening_mismatch",
  ],
  [
    "one field as another",
    (b) => (b.datapoints[0].disclosed.source = b.datapoints[0].disclosed.text),
    "datapoints[0].disclosed.source",
    "opening_mismatch",
  ],
  [
    "another's tombstone",
    (b) => (b.datapoints[1].erased = b.datapoints[2].erased),
    "datapoints[1].erased",
    "tombstone_mismatch",
  ],
  [
    "shown after erasure",
    (b) => {
      b.datapoints[0].erased = b.datapoints[2].erased;
    },
    "datapoints[0].erased",
    "disclosed_after_erasure",
  ],
  [
    "another tree size",
    (b) => (b.log.checkpoint = checkpoint.replace("\n265\n", "\n266\n")),
    "log.checkpoint",
    "checkpoint",
  ],
  [
    "a changed signature",
    (b) => (b.log.checkpoint = checkpoint.replace("9HdmdT6k", "9HdmdT6l")),
    "log.checkpoint",
    "checkpoint",
  ],
  [
    "another spelling of the size",
    (b) => (b.log.checkpoint = checkpoint.replace("265", "0265")),
    "log.checkpoint",
    "checkpoint",
  ],
  ["a second signature", (b) => (b.log.checkpoint += "\u2014 w aaaa\n"), "log.checkpoint", "checkpoint"],
  [
    "an extension line",
    (b) => (b.log.checkpoint = checkpoint.replace("\n\n", "\nx\n\n")),
    "log.checkpoint",
    "checkpoint",
  ],
];

test("every changed value is named by its step", async () => {
  for (const [pointer, value, id, code] of values) await named(pointer, changed(pointer, value), id, code);
  for (const [name, change, id, code] of structures) await named(name, edited(change), id, code);
});

async function named(what: string, file: Uint8Array, id: string, code: string) {
  const { verdict, failed, steps, notShown } = await verifyBundle(file, key);
  assert.deepEqual([verdict, failed?.id, failed?.code], ["failed", id, code], `${what}: ${failed?.detail}`);
  assert.ok((failed?.detail.length ?? 0) > 20);
  const at = steps.findIndex((step) => step.id === id);
  assert.ok(steps.slice(0, at).every(({ status }) => status === "passed"));
  assert.ok(steps.slice(at + 1).every(({ status }) => status === "skipped"));
  assert.deepEqual(notShown, []);
}

test("a redacted bundle still proves the rest", async () => {
  const redacted = edited((bundle) => {
    bundle.openings = {};
    bundle.datapoints.pop();
    delete bundle.datapoints[0].disclosed.contributor;
  });
  const result = await verifyBundle(redacted, key);
  assert.equal(result.verdict, "proved");
  assert.match(result.notShown[0] ?? "", /the request, the response, the search query, the caller/);
  assert.match(result.steps.at(-1)?.detail ?? "", /The answer itself is not shown/);
});

test("a file cannot play tricks on the line that names it", async () => {
  const result = await verifyBundle(changed("/datapoints/0/commitment/datanet", "a\u202eb\u001b"), key);
  assert.ok(result.failed?.detail.includes("a\\u{202e}b\\u{1b}"));
});

test("a deep, huge or odd file is refused and does no harm", async () => {
  const odd = [
    "",
    "\n",
    "null\n",
    "[]\n",
    '{"type":"cairn/bundle/v1"}\n',
    '{"__proto__":{}}\n',
    `${"[".repeat(100_000)}\n`,
    `${"[".repeat(5000)}${"]".repeat(5000)}\n`,
    `${"1".repeat(400)}\n`,
    `\ufeff${new TextDecoder().decode(bytes)}`,
  ];
  for (const text of odd) {
    const { verdict, failed } = await verifyBundle(utf8(text), key);
    assert.deepEqual([verdict, failed?.id], ["failed", "file"], text.slice(0, 40));
  }
});

// The two implementations give the same verdict and name the same fault: set CAIRN_VERIFY to the binary's path.
const binary = process.env.CAIRN_VERIFY;

test("agrees with cairn-verify", { skip: !binary && "CAIRN_VERIFY is not set" }, async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "cairn-"));
  writeFileSync(path.join(dir, "key"), key);
  const files = [
    ...values.map(([at, value]) => changed(at, value)),
    ...structures.map(([, change]) => edited(change)),
  ];
  for (const file of [bytes, ...files]) {
    writeFileSync(path.join(dir, "bundle"), file);
    const run = spawnSync(binary as string, [
      path.join(dir, "bundle"),
      "--key",
      path.join(dir, "key"),
      "--json",
    ]);
    const { verdict, code } = JSON.parse(run.stdout.toString());
    const result = await verifyBundle(file, key);
    assert.deepEqual(
      [result.verdict === "proved" ? "proved" : "not_proved", result.failed?.code],
      [verdict, code],
    );
  }
  rmSync(dir, { recursive: true });
});
