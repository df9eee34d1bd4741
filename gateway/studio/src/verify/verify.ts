//! Verifies a proof bundle in the browser, by itself: no server takes part. See `docs/log-format.md`, section 8.

import type { Pins } from "./anchor.ts";
import { type Bundle, bundle as bundleShape } from "./bundle.ts";
import { hex } from "./bytes.ts";
import { parseCanonical } from "./canonical.ts";
import { sha256, Unsupported } from "./crypto.ts";
import { type Comparison, Failure, type Finding } from "./finding.ts";
import type { Node } from "./merkle.ts";
import { type Planned, plan } from "./steps.ts";
import { parseKeyFile, type Trust } from "./trust.ts";
import { printable } from "./words.ts";

/** How a step stands. `unconfirmed`: all agrees, but with a key or a block that nobody vouched for. */
export type Status = "running" | "passed" | "unconfirmed" | "failed" | "skipped";

/** One thing that is checked. */
export interface Step {
  /** Where in the bundle, such as `datapoints[0].disclosed.text`. */
  id: string;
  /** What is checked, in a few words. */
  title: string;
  /** What came out, in plain words. */
  detail: string;
  status: Status;
  /** What was compared. */
  values: Comparison[];
  /** The hashes computed on the way up a tree. */
  path: Node[];
  /** Why it failed: the code that `cairn verify --json` gives. */
  code?: string;
}

/** What came out of it all. */
export interface Verification {
  /**
   * `proved`: everything holds. `unconfirmed`: everything agrees with the key in the file itself, which proves nothing
   * until that key is confirmed. `failed`: something does not hold. `trouble`: nothing can be said, see `trouble`.
   */
  verdict: "proved" | "unconfirmed" | "failed" | "trouble";
  /** Every step, in order; those after a failure are `skipped`. */
  steps: Step[];
  /** The step that failed. */
  failed?: Step;
  /** Why nothing can be said: the given key is none, or the browser lacks what is needed. */
  trouble?: string;
  /** The bundle, if it has the right form. Do not show it as proved unless the verdict says so. */
  bundle?: Bundle;
  /** What the bundle does not show, a sentence each. */
  notShown: string[];
}

/** Told of each step when it begins and when it ends; a promise is awaited, so that a page can show it first. */
export type OnStep = (step: Step, position: number, total: number) => void | Promise<void>;

/**
 * Verifies the bytes of a bundle file. `publicKey` is the text of the key file that the person trusts; with `null` the
 * key in the bundle is used, and the verdict is at best `unconfirmed`. `pins` is what the person knows of the blockchain
 * that the log is anchored on.
 */
export async function verifyBundle(
  bytes: Uint8Array,
  publicKey: string | null,
  onStep: OnStep = () => {},
  pins: Pins = {},
): Promise<Verification> {
  const steps: Step[] = [];
  let bundle: Bundle | undefined;
  const outcome = (verdict: Verification["verdict"]): Verification => ({
    verdict,
    steps,
    ...(bundle && { bundle }),
    notShown: bundle && verdict !== "failed" ? notShown(bundle, pins) : [],
  });
  try {
    const trusted = publicKey === null ? null : await readKey(publicKey);
    const read = async () => {
      bundle = parseBundle(bytes);
      return { detail: await describe(bytes), values: [] };
    };
    const first = { id: "file", title: "The file is one proof bundle, in canonical form", run: read };
    const failed = await perform(first, steps, 1, onStep);
    const rest = bundle ? plan(bundle, trusted, pins) : [];
    if (failed) return { ...outcome("failed"), failed };
    for (const [i, planned] of rest.entries()) {
      const failed = await perform(planned, steps, rest.length + 1, onStep);
      if (!failed) continue;
      for (const { id, title } of rest.slice(i + 1)) {
        const detail = "Not checked, because an earlier step failed.";
        const skipped: Step = {
          id,
          title: printable(title),
          detail,
          status: "skipped",
          values: [],
          path: [],
        };
        steps.push(skipped);
        await onStep(skipped, steps.length - 1, rest.length + 1);
      }
      return { ...outcome("failed"), failed };
    }
    return outcome(trusted ? "proved" : "unconfirmed");
  } catch (error) {
    if (error instanceof Unsupported || error instanceof BadKey) {
      return { ...outcome("trouble"), trouble: error.message };
    }
    throw error;
  }
}

/** Reads a bundle file without checking what it says. Throws a {@link Failure} unless it has the right form. */
export function parseBundle(bytes: Uint8Array): Bundle {
  if (bytes.at(-1) !== 0x0a)
    throw new Failure("no_newline", "The file must end with one newline after the JSON.");
  try {
    return bundleShape(parseCanonical(bytes.subarray(0, -1)), "");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("form", `The file is not a proof bundle in canonical form: ${why}.`);
  }
}

class BadKey extends Error {}

async function readKey(text: string): Promise<Trust> {
  try {
    return await parseKeyFile(text);
  } catch (error) {
    if (error instanceof Unsupported) throw error;
    const why = error instanceof Error ? error.message : error;
    throw new BadKey(`The key is no public key of a log: ${why}. It is one line, as in the file cairn.pub.`);
  }
}

/** Does one step; returns it if it failed. */
async function perform(
  planned: Planned,
  steps: Step[],
  total: number,
  onStep: OnStep,
): Promise<Step | undefined> {
  const { id, run } = planned;
  const title = printable(planned.title);
  const position = steps.length;
  const begun: Step = { id, title, detail: "", status: "running", values: [], path: [] };
  await onStep(begun, position, total);
  const step = await run().then(
    (finding) => ended(begun, finding),
    (error: unknown) => {
      if (error instanceof Failure) return broken(begun, error);
      throw error;
    },
  );
  steps.push(step);
  await onStep(step, position, total);
  return step.status === "failed" ? step : undefined;
}

function ended(step: Step, { detail, values, path, unconfirmed }: Finding): Step {
  const status = unconfirmed ? "unconfirmed" : "passed";
  return { ...step, status, detail: printable(detail), values: values.map(safe), path: path ?? [] };
}

function broken(step: Step, { code, message, values, path }: Failure): Step {
  return {
    ...step,
    status: "failed",
    code,
    detail: printable(message),
    values: values.map(safe),
    path: path ?? [],
  };
}

function safe({ label, expected, found }: Comparison): Comparison {
  return { label, expected: printable(expected), found: printable(found) };
}

async function describe(bytes: Uint8Array): Promise<string> {
  const digest = hex(await sha256(Uint8Array.from(bytes)));
  return `${bytes.length} bytes with SHA-256 ${digest}. There is only one way to write these values, and this is it.`;
}

/** What an anchor rests on, and does not show. */
function openOf(
  {
    block_hash,
    chain_id,
    contract,
    sender,
    transaction,
  }: NonNullable<Bundle["log"]["anchor"]>["anchor"]["event"],
  pins: Pins,
): string[] {
  const block =
    `It does not show that block ${block_hash} is part of blockchain ${chain_id}: look it up in a block explorer or ` +
    "node that you trust, and give its hash from there.";
  return [
    ...(pins.blockHash === undefined ? [block] : []),
    `Any contract could have said what the block says: compare ${contract} with the address that the log’s operator has ` +
      `published, and ${sender} with the operator’s account.`,
    ...(transaction ? [] : ["The hash of the blockchain’s transaction is not proved; its receipt is."]),
  ];
}

function notShown({ openings, record, datapoints, log, influence, grants }: Bundle, pins: Pins): string[] {
  const hidden = [
    ...(openings.request ? [] : ["the request"]),
    ...(openings.response ? [] : ["the response"]),
    ...(openings.query || !record.retrieval ? [] : ["the search query"]),
    ...(openings.caller ? [] : ["the caller"]),
    ...(openings.filter || !record.retrieval?.filter ? [] : ["the filter"]),
  ];
  const sentences: string[] = [];
  if (hidden.length > 0) {
    sentences.push(`It does not disclose ${hidden.join(", ")}; the record holds commitments to them.`);
  }
  const rest = (record.retrieval?.candidates.length ?? 0) - datapoints.length;
  if (rest > 0)
    sentences.push(`It gives no proof for datapoints that were considered but not used: ${rest}.`);
  if (log.anchor) sentences.push(...openOf(log.anchor.anchor.event, pins));
  if (influence) {
    sentences.push(
      "How much a passage mattered is the operator’s measurement; `cairn recompute` repeats it where the weights are.",
    );
  }
  const unnamed = grants?.filter(({ subject }) => !subject || !openings.caller).map(({ entry }) => entry.id);
  if (unnamed?.length) {
    sentences.push(`It does not show that the caller is who was given ${unnamed.join(" and ")}.`);
  }
  if (grants) {
    sentences.push(
      "That no grant was revoked before the answer shows in the whole log: `cairn audit` looks.",
    );
  }
  return [
    ...sentences,
    "Times are those the operator wrote down; the log fixes their order, not the clock.",
    "A log proves what was recorded, not that everything was recorded.",
  ];
}
