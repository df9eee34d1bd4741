//! Who may use a datanet, and on what terms: the log entries from published terms to the grant that a search cites, and
//! what must hold within each.

import {
  anyObject,
  byte,
  count,
  hash,
  list,
  nullable,
  type Of,
  object,
  oneOf,
  string,
  tagged,
  truth,
} from "./shape.ts";
import { isBefore, isUtc } from "./time.ts";

/** A version of a datanet's terms. */
export const terms = object(
  {
    type: oneOf("cairn/terms/v1"),
    datanet: string,
    version: count,
    terms: anyObject,
    actor: hash,
    time: string,
  },
  { previous: hash },
);

/** A right to use a datanet, given to one subject for some time. */
export const grant = object({
  type: oneOf("cairn/grant/v1"),
  id: string,
  datanet: string,
  subject: hash,
  purposes: list(oneOf("evaluation", "retrieval", "training")),
  rows: nullable(string),
  retrievals_per_day: nullable(count),
  terms: nullable(hash),
  request: nullable(string),
  by: oneOf("policy", "review", "owner"),
  issued: string,
  expires: nullable(string),
});

const type = oneOf("cairn/access/v1");

/** What happens between terms and grants. */
export const access = tagged("action", {
  request: object({
    type,
    action: oneOf("request"),
    id: string,
    datanet: string,
    requester: hash,
    application: hash,
    terms: nullable(hash),
    time: string,
  }),
  decision: object({
    type,
    action: oneOf("decision"),
    datanet: string,
    request: string,
    outcome: oneOf("granted", "denied", "referred", "escalated", "expired", "withdrawn"),
    by: oneOf("policy", "review", "owner", "requester"),
    clauses: list(string),
    actor: nullable(hash),
    time: string,
  }),
  vote: object({
    type,
    action: oneOf("vote"),
    datanet: string,
    request: string,
    reviewer: hash,
    approve: truth,
    time: string,
  }),
  revocation: object(
    {
      type,
      action: oneOf("revocation"),
      datanet: string,
      grant: hash,
      id: string,
      actor: hash,
      time: string,
    },
    { reason: hash },
  ),
  appeal: object({
    type,
    action: oneOf("appeal"),
    datanet: string,
    request: string,
    of: string,
    time: string,
  }),
});

/** What was offered to a datanet was accepted or rejected. */
export const contribution = object({
  type: oneOf("cairn/contribution/v1"),
  id: string,
  datanet: string,
  contributor: hash,
  document: hash,
  rows: count,
  outcome: oneOf("accepted", "rejected"),
  by: oneOf("policy", "review"),
  score: nullable(byte),
  supersedes: nullable(string),
  snapshot: nullable(hash),
  time: string,
});

export type TermsEntry = Of<typeof terms>;
export type GrantEntry = Of<typeof grant>;
export type AccessEntry = Of<typeof access>;
export type ContributionEntry = Of<typeof contribution>;

/** Checks that the parts of a terms entry fit together. Throws with the first contradiction. */
export function checkTerms({ version, previous, time }: TermsEntry): void {
  timed(time);
  if (version === 0) throw new Error("versions count from 1");
  if (version === 1 && previous !== undefined) throw new Error("version 1 has none before it");
  if (version > 1 && previous === undefined) throw new Error(`version ${version} must name the one before`);
}

/** Checks that the parts of a grant fit together. Throws with the first contradiction. */
export function checkGrant({ purposes, issued, expires }: GrantEntry): void {
  timed(issued);
  const rising = purposes.every((purpose, at) => at === 0 || (purposes[at - 1] as string) < purpose);
  if (purposes.length === 0 || !rising) throw new Error("its purposes are none, or not in order");
  if (expires === null) return;
  timed(expires);
  if (!isBefore(issued, expires)) throw new Error(`it is issued at ${issued} and ends at ${expires}`);
}

/** Checks that the parts of an event fit together. Throws with the first contradiction. */
export function checkAccess(entry: AccessEntry): void {
  timed(entry.time);
  if (entry.action === "decision" && (entry.actor === null) !== (entry.by === "policy")) {
    throw new Error("a decision has an actor, unless the policy decided");
  }
  if (entry.action === "decision" && (entry.outcome === "withdrawn") !== (entry.by === "requester")) {
    throw new Error("the requester withdraws, and decides nothing else");
  }
  if (entry.action === "appeal" && entry.request === entry.of) {
    throw new Error(`${entry.of} appeals against itself`);
  }
}

/** Checks that the parts of a contribution fit together. Throws with the first contradiction. */
export function checkContribution({
  id,
  outcome,
  score,
  snapshot,
  supersedes,
  time,
}: ContributionEntry): void {
  timed(time);
  if (score !== null && score > 100) throw new Error(`its score is ${score}, above 100`);
  if (outcome === "rejected" && snapshot !== null) {
    throw new Error("it was rejected, so no snapshot has its rows");
  }
  if (supersedes === id) throw new Error(`${id} takes its own place`);
}

/** Why a grant does not allow a search of this datanet at this time, or nothing if it does. */
export function objection(grant: GrantEntry, datanet: string, time: string): string | undefined {
  const { id, issued, expires } = grant;
  if (grant.datanet !== datanet) return `grant ${id} is of ${grant.datanet}, not of ${datanet}`;
  if (!grant.purposes.includes("retrieval")) return `grant ${id} is not for retrieval`;
  if (isBefore(time, issued)) return `grant ${id} was issued at ${issued}, and ${time} is before that`;
  if (expires !== null && !isBefore(time, expires)) {
    return `grant ${id} ended at ${expires}, and ${time} is not before that`;
  }
  return undefined;
}

/** What a grant allows, as a part of a sentence. `version` is that of its terms, where they are shown. */
export function scope(grant: GrantEntry, version?: number): string {
  const { purposes, rows, retrievals_per_day: most, by, expires } = grant;
  return [
    purposes.join(" and "),
    ...(rows === null ? [] : [`rows where ${rows}`]),
    ...(most === null ? [] : [`at most ${most} retrievals a day`]),
    `from ${by}${version === undefined ? "" : `, terms version ${version}`}`,
    expires === null ? "valid without end" : `valid until ${expires}`,
  ].join("; ");
}

function timed(time: string): void {
  if (!isUtc(time)) throw new Error(`time ${time} is no time in UTC such as 2026-01-31T23:59:59Z`);
}
