//! Bundles that say how much each passage mattered.

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "./bytes.ts";
import { canonical } from "./canonical.ts";
import { golden, type Spoiled } from "./golden.ts";
import { verifyBundle } from "./verify.ts";

const bytes = golden("influence.json");
const key = new TextDecoder().decode(golden("cairn.pub"));

async function codeAfter(change: (entry: Spoiled, bundle: Spoiled) => void): Promise<string> {
  const bundle = JSON.parse(new TextDecoder().decode(bytes));
  change(bundle.influence.entry, bundle);
  const result = await verifyBundle(utf8(`${canonical(bundle)}\n`), key);
  return result.failed?.code ?? result.verdict;
}

test("the influence of the golden bundle is proved", async () => {
  const result = await verifyBundle(bytes, key);
  assert.equal(result.verdict, "proved");
  const step = result.steps.at(-1);
  assert.equal(step?.id, "influence");
  assert.match(step?.detail ?? "", /passage 1: 10\.00, passage 2: 3\.00/);
});

test("no flipped bit of it verifies", async () => {
  const text = new TextDecoder().decode(bytes);
  const start = text.indexOf('"influence"');
  const end = text.indexOf('"key":');
  assert.ok(end > start + 1000);
  for (let at = start; at < end; at++) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    assert.equal((await verifyBundle(flipped, key)).verdict, "failed", `byte ${at}`);
  }
});

test("it must be of this answer and add up", async () => {
  assert.equal(await codeAfter(() => {}), "proved");
  assert.equal(
    await codeAfter((_, bundle) => Object.assign(bundle.influence, { index: 0 })),
    "influence_not_in_log",
  );
  assert.equal(await codeAfter((entry) => Object.assign(entry, { id: "chatcmpl-0002" })), "influence");
  assert.equal(
    await codeAfter((entry) => Object.assign(entry.shares[0], { share: "0.500000" })),
    "influence",
  );
  assert.equal(await codeAfter((entry) => Object.assign(entry.sentences[0], { start: 41 })), "influence");
  assert.equal(
    await codeAfter((entry) => Object.assign(entry.sentences[0], { tokens: 8 })),
    "influence_not_in_log",
  );
  assert.equal(await codeAfter((entry) => Object.assign(entry, { method: "leave_one_out" })), "influence");
  assert.equal(await codeAfter((entry) => Object.assign(entry, { passages: [1, 3] })), "influence");
  const shapley = { shapley: "11.500000" };
  assert.equal(
    await codeAfter((entry) => Object.assign(entry.sentences[0].passages[0], shapley)),
    "influence",
  );
  assert.equal(await codeAfter((entry) => Object.assign(entry.sentences[0], { supported: "yes" })), "form");
  assert.equal(await codeAfter((entry) => Object.assign(entry, { more: 1 })), "form");
});
