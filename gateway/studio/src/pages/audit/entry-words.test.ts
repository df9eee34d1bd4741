// Every kind of entry has words, and leads to what it is about; the entries are those that the verifiers are tested with.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "../../verify/entry.ts";
import { KINDS, said } from "./entry-words.ts";

const time = "2026-11-01T00:00:00.000Z";
const of = (entry: object) => said(entry as Entry);

test("what is said of each kind, and where it leads", () => {
  const record = { type: "cairn/record/v1", time, id: "chatcmpl-1", model: "small", retrieval: null };
  assert.deepEqual(of(record), {
    kind: "record",
    time,
    text: "Answer by small",
    place: { to: "record", id: "chatcmpl-1" },
  });
  const drawing = { ...record, retrieval: { datanets: [{ name: "a" }, { name: "b" }] } };
  assert.equal(of(drawing).text, "Answer by small, drawing on a, b");
  const one = { type: "cairn/contribution/v1", time, datanet: "net", rows: 1, outcome: "accepted" };
  assert.equal(of(one).text, "A contribution of 1 datapoint to net was accepted");
  const grant = { type: "cairn/grant/v1", issued: time, datanet: "net", purposes: ["retrieval", "training"] };
  assert.deepEqual(of(grant).place, { to: "datanet", name: "net", tab: "access" });
  assert.equal(of(grant).time, time);
  const adapter = { type: "cairn/adapter/v1", at: time, base: "small", actor: "ada", action: "upload" };
  assert.equal(of({ ...adapter, generation: "ab".repeat(32) }).place, null, "what has no name has no page");
  const named = of({ ...adapter, alias: "style", action: "rollback" });
  assert.deepEqual(named.place, { to: "adapter", base: "small", name: "style" });
  assert.equal(named.text, "Adapter style on small: rolled back by ada");
  for (const action of ["request", "decision", "vote", "revocation", "appeal"]) {
    assert.match(of({ type: "cairn/access/v1", time, datanet: "net", action }).text, /net/);
  }
});

test("the kinds to choose among are those that entries have", () => {
  const types = ["snapshot", "tombstone", "terms", "training", "rotation", "influence"];
  const rest = {
    time,
    datanet: "net",
    size: 2,
    seq: 1,
    version: 1,
    rows: { learnt: 3 },
    passages: [1, 2],
    job: "j",
  };
  for (const type of types) {
    const { kind, text } = of({ type: `cairn/${type}/v1`, ...rest });
    assert.ok(
      KINDS.some(([known]) => known === kind),
      type,
    );
    assert.ok(text.length > 0);
  }
});
