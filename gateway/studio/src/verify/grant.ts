//! The grants of a bundle: each datanet that was searched under one has the entry that gave the right, in the log before
//! the record.

import { checkGrant, checkTerms, objection, scope } from "./access.ts";
import type { Bundle, GrantProof } from "./bundle.ts";
import { canonical } from "./canonical.ts";
import { entryLeaf } from "./entry.ts";
import { attempt, type Comparison, Failure, type Finding, inTree, opens, sentence } from "./finding.ts";

/** The size and root that the log signed. */
interface Head {
  size: bigint;
  root: string;
}

/** The datanets that were searched under a grant, with the grant's leaf hash, in the record's order. */
export function cited({ record }: Bundle): { datanet: string; leaf: string }[] {
  return (record.retrieval?.datanets ?? []).flatMap(({ name, access }) =>
    access?.basis === "grant" ? [{ datanet: name, leaf: access.grant }] : [],
  );
}

/** Whether a bundle says anything of the right by which datanets were searched. */
export function saysAccess({ record, grants }: Bundle): boolean {
  return grants !== undefined || (record.retrieval?.datanets ?? []).some(({ access }) => access);
}

/** Checks that the grants are those that the record cites, in its order, and says how each datanet was searched. */
export async function checkAccess(bundle: Bundle): Promise<Finding> {
  const list = (names: string[]) => (names.length > 0 ? names.join(", ") : "none");
  const expected = list(cited(bundle).map(({ datanet }) => datanet));
  const found = list((bundle.grants ?? []).map(({ datanet }) => datanet));
  const values = [{ label: "datanets searched under a grant", expected, found }];
  // Names are compared one by one: a comma may stand in one.
  const agree = cited(bundle).every(({ datanet }, i) => bundle.grants?.[i]?.datanet === datanet);
  if (!agree || cited(bundle).length !== (bundle.grants ?? []).length) {
    throw new Failure(
      "grants_differ",
      "The grants are not those that the record cites, in its order.",
      values,
    );
  }
  const rights = (bundle.record.retrieval?.datanets ?? []).flatMap(({ name, access }) =>
    access ? [`${name} ${WORDS[access.basis]}`] : [],
  );
  return { detail: `Searched: ${rights.join(", ")}.`, values };
}

/** Checks the `i`-th grant: it is the one that the record cites, is in the log, and allowed the search. */
export async function checkGranted(bundle: Bundle, i: number, head: Head): Promise<Finding> {
  const wanted = cited(bundle)[i];
  const proof = bundle.grants?.[i];
  if (!wanted || !proof) throw new Error("this step comes after the one that compares the grants");
  const { entry, index, path } = proof;
  const { log, record, openings } = bundle;
  await attempt("grant", "The grant", async () => checkGrant(entry));
  const found = await entryLeaf(entry);
  const values = same("leaf hash", wanted.leaf, found, "It is not the grant that the record cites.");
  const what = `The grant is not entry ${index} of the log`;
  const place = await inTree(found, index, head.size, path, head.root, "grant_not_in_log", what);
  const version = await checkPublished(proof, head, values);
  const late = index >= log.index ? `it is entry ${index}, not before the record's ${log.index}` : undefined;
  const of = proof.terms?.entry.datanet ?? wanted.datanet;
  const foreign =
    of === wanted.datanet ? undefined : `its terms are those of ${of}, not of ${wanted.datanet}`;
  const problem = late ?? foreign ?? objection(entry, wanted.datanet, record.time);
  if (problem) throw new Failure("grant_not_in_force", sentence(problem), values);
  let whose = "It is not shown whether the caller is who was given it.";
  if (proof.subject) {
    values.push(...(await opens(proof.subject, entry.subject, "subject")).values);
    if (openings.caller) {
      const subject = canonical(proof.subject.value);
      const caller = canonical(openings.caller.value);
      values.push({ label: "caller", expected: subject, found: caller });
      if (subject !== caller) {
        throw new Failure("grant_of_another", "It was given to another than the caller.", values);
      }
      whose = "It was given to the caller.";
    }
  }
  const detail =
    `Grant ${entry.id}, entry ${index} of the log, allowed it (${scope(entry, version)}). ${whose} ` +
    "That it was not revoked before shows in the whole log.";
  return { detail, values: [...values, ...place.values], ...(place.path && { path: place.path }) };
}

/** Checks the terms that a grant was decided by, and returns their version, where they are shown. */
async function checkPublished(
  { entry: grant, terms }: GrantProof,
  head: Head,
  values: Comparison[],
): Promise<number | undefined> {
  if (!terms) return undefined;
  const { entry, index, path } = terms;
  await attempt("grant", "The terms", async () => checkTerms(entry));
  const found = await entryLeaf(entry);
  const label = "leaf hash of the terms";
  values.push(...same(label, grant.terms ?? "none", found, "They are not the terms that the grant names."));
  const what = `The terms are not entry ${index} of the log`;
  values.push(...(await inTree(found, index, head.size, path, head.root, "grant_not_in_log", what)).values);
  return entry.version;
}

const WORDS = {
  grant: "under a grant",
  owner: "as its owner",
  public: "as anyone may search it",
  administrator: "as an administrator of the gateway",
} as const;

function same(label: string, expected: string, found: string, problem: string): Comparison[] {
  const values = [{ label, expected, found }];
  if (expected !== found) throw new Failure("grant_mismatch", problem, values);
  return values;
}
