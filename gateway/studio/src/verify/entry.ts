//! The entries of trees and of the log: their members, and what must hold within a record.

import {
  type AccessEntry,
  access,
  type ContributionEntry,
  checkAccess,
  checkContribution,
  checkGrant,
  checkTerms,
  contribution,
  type GrantEntry,
  grant,
  type TermsEntry,
  terms,
} from "./access.ts";
import { type Bytes, utf8 } from "./bytes.ts";
import { canonical, type Json, parseCanonical } from "./canonical.ts";
import { checkInfluence, type InfluenceEntry, influence } from "./influence.ts";
import { leafHash } from "./merkle.ts";
import { byte, count, hash, list, nullable, type Of, object, oneOf, string, tagged } from "./shape.ts";
import { isUtc } from "./time.ts";

/** The entry of a datanet's tree. */
export const datapoint = object({
  type: oneOf("cairn/datapoint/v1"),
  datanet: string,
  id: string,
  seq: count,
  contributed_at: string,
  licence: string,
  contributor: hash,
  text: hash,
  source: hash,
  metadata: hash,
});

const candidate = object(
  {
    datanet: string,
    leaf: hash,
    seq: count,
    rank: nullable(count),
    in_prompt: nullable(count),
    vector_score: nullable(string),
    vector_rank: nullable(count),
    text_score: nullable(string),
    text_rank: nullable(count),
    fused_score: nullable(string),
  },
  { phrase_score: string, rerank_score: string, left_out: oneOf("minimum_score", "contributor_cap") },
);

/** By what right a datanet was searched. */
const basis = tagged("basis", {
  grant: object({ basis: oneOf("grant"), grant: hash }),
  owner: object({ basis: oneOf("owner") }),
  public: object({ basis: oneOf("public") }),
  administrator: object({ basis: oneOf("administrator") }),
});

const retrieval = object(
  {
    query: hash,
    mode: string,
    top_k: count,
    candidates_per_source: count,
    datanets: list(
      object({ name: string, lance_version: count, size: count, root: hash }, { access: basis }),
    ),
    candidates: list(candidate),
  },
  { filter: hash, rerank: string },
);

const citation = object({
  choice: count,
  n: count,
  start: count,
  end: count,
  kind: oneOf("marker", "overlap"),
  score: nullable(string),
});

/** Whose datapoints were put before the model, each with the running count of its uses. */
const use = object({ contributor: hash, count, passages: list(count) });

/** The record of one answer. */
export const record = object(
  {
    type: oneOf("cairn/record/v1"),
    id: string,
    time: string,
    endpoint: oneOf("chat.completions", "completions"),
    request: hash,
    response: hash,
    model: string,
    base_weights: hash,
    adapter_generation: nullable(string),
    caller: hash,
    retrieval: nullable(retrieval),
    citations: list(citation),
  },
  { uses: list(use), adapters: list(object({ generation: string, weight: string })) },
);

/** A datanet reached a version. */
export const snapshot = object({
  type: oneOf("cairn/snapshot/v1"),
  datanet: string,
  lance_version: count,
  size: count,
  root: hash,
  time: string,
});

/** A datapoint's salt and plaintext were destroyed. */
export const tombstone = object({
  type: oneOf("cairn/tombstone/v1"),
  datanet: string,
  seq: count,
  leaf: hash,
  time: string,
});

/** An adapter was uploaded or deleted, or an alias changed. */
export const adapter = object(
  {
    type: oneOf("cairn/adapter/v1"),
    key: string,
    action: string,
    base: string,
    owner: string,
    actor: string,
    at: string,
  },
  {
    alias: string,
    generation: hash,
    previous: hash,
    canary: hash,
    percent: byte,
    visibility: string,
    subject: string,
  },
);

/** The log's key changed. The signatures in it are checked by `KeyHistory`. */
export const rotation = object({
  type: oneOf("cairn/rotation/v1"),
  origin: string,
  size: count,
  previous: string,
  next: string,
  time: string,
  by_previous: string,
  by_next: string,
});

/** Where a run's rows came from: a datanet's snapshot, or a file; and by what right, with the grant's entry where one is named. */
const source = object(
  { consent: oneOf("grant", "operator", "own") },
  { datanet: string, size: count, root: hash, file: hash, grant: hash },
);

/** An adapter was trained. */
export const training = object({
  type: oneOf("cairn/training/v1"),
  job: string,
  base: string,
  base_weights: hash,
  generation: hash,
  config: string,
  sources: list(source),
  rows: object({ learnt: count, held_out: count, root: hash }),
  owner: string,
  time: string,
});

export type Datapoint = Of<typeof datapoint>;
export type Candidate = Of<typeof candidate>;
export type Citation = Of<typeof citation>;
export type Record = Of<typeof record>;
export type Snapshot = Of<typeof snapshot>;
export type Tombstone = Of<typeof tombstone>;
export type Adapter = Of<typeof adapter>;
export type Rotation = Of<typeof rotation>;
export type Training = Of<typeof training>;
type Use = Of<typeof use>;
/** An entry of the log, told apart by its `type`. */
export type Entry =
  | Record
  | Snapshot
  | Tombstone
  | Adapter
  | Rotation
  | Training
  | InfluenceEntry
  | TermsEntry
  | AccessEntry
  | GrantEntry
  | ContributionEntry;

/** Reads an entry of the log, which must be canonical, of a known type and free of contradictions. */
export function parseEntry(bytes: Bytes): Entry {
  const value = parseCanonical(bytes);
  const type = typeof value === "object" && value !== null && !Array.isArray(value) ? value.type : undefined;
  switch (type) {
    case "cairn/record/v1":
      return checked(record(value, ""), checkRecord);
    case "cairn/snapshot/v1":
      return snapshot(value, "");
    case "cairn/tombstone/v1":
      return tombstone(value, "");
    case "cairn/adapter/v1":
      return adapter(value, "");
    case "cairn/rotation/v1":
      return rotation(value, "");
    case "cairn/training/v1":
      return checked(training(value, ""), checkTraining);
    case "cairn/influence/v1":
      return checked(influence(value, ""), checkInfluence);
    case "cairn/terms/v1":
      return checked(terms(value, ""), checkTerms);
    case "cairn/access/v1":
      return checked(access(value, ""), checkAccess);
    case "cairn/grant/v1":
      return checked(grant(value, ""), checkGrant);
    case "cairn/contribution/v1":
      return checked(contribution(value, ""), checkContribution);
    default:
      throw new Error(`type: ${JSON.stringify(type)} is no kind of entry that is known`);
  }
}

function checked<T>(entry: T, check: (entry: T) => void): T {
  check(entry);
  return entry;
}

/** The leaf hash of an entry: of its canonical JSON. */
export function entryLeaf(entry: Entry | Datapoint): Promise<string> {
  return leafHash(utf8(canonical(entry as unknown as Json)));
}

/** Checks that the parts of a training entry fit together. Throws with the place of the first contradiction. */
function checkTraining({ rows, sources, time }: Training): void {
  if (rows.learnt === 0) throw new Error("training.rows: no row was learnt");
  if (sources.length === 0) throw new Error("training.sources: there is none");
  for (const [i, { consent, datanet, size, root, file, grant }] of sources.entries()) {
    const named = datanet !== undefined;
    const whole =
      named === (size !== undefined) && named === (root !== undefined) && named !== (file !== undefined);
    if (!whole)
      throw new Error(`training.sources[${i}]: it is neither a datanet with size and root nor a file`);
    if (grant !== undefined && !(named && consent === "grant")) {
      throw new Error(`training.sources[${i}]: it names a grant, but is not a datanet used by one`);
    }
    // Whether the grant held is a question about the entry's time.
    if (grant !== undefined && !isUtc(time)) throw new Error(`training.time: ${time} is no time in UTC`);
  }
}

/** Checks that the parts of a record fit together. Throws with the place of the first contradiction. */
export function checkRecord(record: Record): void {
  if (!isUtc(record.time)) {
    throw new Error(`record.time: ${record.time} is no time in UTC such as 2026-01-31T23:59:59Z`);
  }
  const passages = new Set<number>();
  const sizes = new Map<string, number>();
  const seen = new Set<string>();
  for (const { name, size } of record.retrieval?.datanets ?? []) {
    if (sizes.has(name)) throw new Error(`record.retrieval.datanets: ${name} is listed twice`);
    sizes.set(name, size);
  }
  for (const [i, { datanet, seq, in_prompt, left_out }] of (record.retrieval?.candidates ?? []).entries()) {
    const place = `record.retrieval.candidates[${i}] (${datanet} #${seq})`;
    const size = sizes.get(datanet);
    if (size === undefined) throw new Error(`${place}: its datanet was not searched`);
    if (seq >= size) throw new Error(`${place}: it lies beyond the datanet's ${size} datapoints`);
    const key = JSON.stringify([datanet, seq]);
    if (seen.has(key)) throw new Error(`${place}: it is listed twice`);
    seen.add(key);
    if (in_prompt === null) continue;
    if (in_prompt === 0 || passages.has(in_prompt)) {
      throw new Error(`${place}: its passage number ${in_prompt} is zero or taken`);
    }
    if (left_out) throw new Error(`${place}: it was left out, and in the prompt`);
    passages.add(in_prompt);
  }
  for (const [i, { n, start, end }] of record.citations.entries()) {
    const place = `record.citations[${i}]`;
    if (!passages.has(n)) throw new Error(`${place}: it names passage ${n}, which was not in the prompt`);
    if (start >= end) throw new Error(`${place}: it spans ${start} to ${end}, which is empty`);
  }
  if (record.adapters && record.adapters[0]?.generation !== record.adapter_generation) {
    throw new Error("record.adapters: the first of them is not the record's adapter_generation");
  }
  if (record.uses) checkUses(record.uses, passages);
}

/** Every passage of the prompt is some one contributor's, contributors stand in order, and counts begin at 1. */
function checkUses(uses: Use[], passages: Set<number>): void {
  const rest = new Set(passages);
  for (const [i, { contributor, count, passages }] of uses.entries()) {
    const place = `record.uses[${i}]`;
    const before = uses[i - 1];
    if (before && before.contributor >= contributor) {
      throw new Error(`${place}: contributors are not in order, or one is there twice`);
    }
    const rising = passages.every((n, at) => at === 0 || (passages[at - 1] as number) < n);
    if (count === 0 || passages.length === 0 || !rising) {
      throw new Error(`${place}: its count is 0, or its passages are none or not in order`);
    }
    for (const n of passages) if (!rest.delete(n)) throw new Error(`${place}: passage ${n} is not theirs`);
  }
  for (const n of rest)
    throw new Error(`record.uses: passage ${n} was in the prompt, but nobody's use counts it`);
}
