//! Bundles that show by what right datanets were searched, and the log entries behind that.

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "./bytes.ts";
import { canonical, type Json } from "./canonical.ts";
import { parseEntry } from "./entry.ts";
import { golden, type Spoiled } from "./golden.ts";
import { isBefore, isUtc } from "./time.ts";
import { verifyBundle } from "./verify.ts";

const bytes = golden("granted.json");
const key = new TextDecoder().decode(golden("cairn.pub"));
const zero = "0".repeat(64);

function parsed(): Spoiled {
  return JSON.parse(new TextDecoder().decode(bytes));
}

async function codeAfter(change: (bundle: Spoiled) => void): Promise<string> {
  const bundle = parsed();
  change(bundle);
  const result = await verifyBundle(utf8(`${canonical(bundle)}\n`), key);
  return result.failed?.code ?? result.verdict;
}

test("the grants of the golden bundle are proved", async () => {
  const result = await verifyBundle(bytes, key);
  assert.equal(result.verdict, "proved");
  const [all, first, second] = result.steps.slice(-3);
  assert.deepEqual([all?.id, first?.id, second?.id], ["grants", "grants[0]", "grants[1]"]);
  assert.match(
    first?.detail ?? "",
    /Grant grant-1, entry 268 .*at most 100 retrievals a day; from policy, terms version 2; valid until 2026-03-02/,
  );
  assert.match(first?.detail ?? "", /It was given to the caller/);
  assert.match(second?.detail ?? "", /from owner; valid without end/);
  assert.match(all?.detail ?? "", /notes as its owner, case-law under a grant, statutes as anyone may/);
  assert.ok(result.notShown.some((line) => line.includes("cairn audit")));
  assert.ok(!result.notShown.some((line) => line.includes("who was given")));
});

test("no flipped bit of them verifies", async () => {
  const text = new TextDecoder().decode(bytes);
  const start = text.indexOf('"grants"');
  const end = text.indexOf('"key":');
  assert.ok(end > start + 2000);
  for (let at = start; at < end; at++) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    assert.equal((await verifyBundle(flipped, key)).verdict, "failed", `byte ${at}`);
  }
});

test("what is left out is said", async () => {
  const bundle = parsed();
  bundle.openings = {};
  delete bundle.grants[0].subject;
  delete bundle.grants[0].terms;
  const result = await verifyBundle(utf8(`${canonical(bundle)}\n`), key);
  assert.equal(result.verdict, "proved");
  assert.ok(result.notShown.some((line) => line.includes("who was given grant-1 and grant-2")));
  assert.match(result.notShown[0] ?? "", /the caller, the filter/);
});

test("they must be those that the record cites, in the log, and hold", async () => {
  const cases: [string, (bundle: Spoiled) => void][] = [
    ["proved", () => {}],
    ["form", (b) => (b.grants = [])],
    ["form", (b) => (b.grants[0].note = "x")],
    ["form", (b) => (b.grants[0].entry.purposes = ["everything"])],
    ["form", (b) => (b.grants[0].terms.entry.terms = [])],
    ["form", (b) => (b.grants[0].entry.by = "requester")],
    ["form", (b) => (b.record.retrieval.datanets[0].access.basis = "owner")],
    ["form", (b) => (b.record.retrieval.datanets[1].access.grant = zero)],
    ["grant", (b) => (b.grants[0].entry.purposes = [])],
    ["grant", (b) => b.grants[0].entry.purposes.reverse()],
    ["grant", (b) => (b.grants[0].entry.issued = "2026-03-02T12:00:00Z")],
    ["grant", (b) => (b.grants[0].entry.expires = "later")],
    ["grant", (b) => (b.grants[0].terms.entry.version = 1)],
    ["grants_differ", (b) => delete b.grants],
    ["grants_differ", (b) => b.grants.reverse()],
    ["grants_differ", (b) => b.grants.pop()],
    ["grants_differ", (b) => (b.grants[0].datanet = "case-law")],
    ["grants_differ", (b) => b.grants.push(b.grants[1])],
    ["grant_mismatch", (b) => (b.grants[0].entry.expires = null)],
    ["grant_mismatch", (b) => (b.grants[1].entry = b.grants[0].entry)],
    ["grant_mismatch", (b) => (b.grants[1].terms = b.grants[0].terms)],
    ["grant_mismatch", (b) => (b.grants[0].terms.entry.terms.share = 0.5)],
    ["grant_not_in_log", (b) => (b.grants[0].index = 267)],
    ["grant_not_in_log", (b) => (b.grants[0].terms.path = [])],
    ["opening_mismatch", (b) => (b.grants[0].subject.value = "key-2")],
    ["opening_mismatch", (b) => (b.openings.filter.value = "page > 2")],
    ["record", (b) => (b.record.retrieval.candidates[0].left_out = "minimum_score")],
    ["record_not_in_log", (b) => (b.record.retrieval.rerank = "none")],
  ];
  for (const [code, change] of cases) assert.equal(await codeAfter(change), code, change.toString());
});

test("entries are read strictly", () => {
  const { entry, terms } = parsed().grants[0];
  const common = { type: "cairn/access/v1", datanet: "law", time: "2026-01-31T11:00:00Z" };
  const decided = { ...common, action: "decision", request: "r", outcome: "granted", clauses: ["purposes"] };
  const contribution = {
    type: "cairn/contribution/v1",
    id: "c2",
    datanet: "law",
    contributor: zero,
    document: zero,
    rows: 3,
    outcome: "accepted",
    by: "policy",
    score: 100,
    supersedes: "c1",
    snapshot: zero,
    time: "2026-01-31T11:00:00.5Z",
  };
  const right: Json[] = [
    entry,
    terms.entry,
    { ...common, action: "request", id: "r", requester: zero, application: zero, terms: null },
    { ...decided, by: "policy", actor: null },
    { ...decided, by: "review", actor: zero },
    { ...decided, outcome: "withdrawn", by: "requester", actor: zero },
    { ...common, action: "vote", request: "r", reviewer: zero, approve: false },
    { ...common, action: "revocation", grant: zero, id: "g", actor: zero },
    { ...common, action: "revocation", grant: zero, id: "g", actor: zero, reason: zero },
    { ...common, action: "appeal", request: "r2", of: "r" },
    contribution,
  ];
  const wrong: Json[] = [
    common,
    { ...common, action: "habit" },
    { ...decided, by: "policy", actor: zero },
    { ...decided, by: "owner", actor: null },
    { ...decided, by: "requester", actor: zero },
    { ...decided, outcome: "withdrawn", by: "review", actor: zero },
    { ...entry, by: "requester" },
    { ...common, action: "vote", request: "r", reviewer: zero, approve: 1 },
    { ...common, action: "appeal", request: "r", of: "r" },
    { ...contribution, score: 101 },
    { ...contribution, outcome: "rejected" },
    { ...contribution, supersedes: "c2" },
    { ...contribution, by: "owner" },
    { ...terms.entry, version: 0 },
    { ...terms.entry, version: 1 },
    { ...entry, issued: "2026-01-31" },
    ...right.map((value) => ({ ...(value as object), more: 1 })),
  ];
  for (const value of right) assert.deepEqual(parseEntry(utf8(canonical(value))), value);
  for (const value of wrong) assert.throws(() => parseEntry(utf8(canonical(value))), canonical(value));
});

test("times are compared to the last decimal", () => {
  const times = [
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05.000000001Z",
    "2026-01-02T03:04:05.45Z",
    "2026-01-02T03:04:05.5Z",
    "2026-01-02T03:04:06Z",
  ];
  for (const [i, a] of times.entries())
    for (const [j, b] of times.entries()) assert.equal(isBefore(a, b), i < j, `${a} ${b}`);
  assert.ok(!isBefore("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.500Z"));
  for (const odd of ["2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05Z\n"])
    assert.ok(!isUtc(odd), odd);
});
