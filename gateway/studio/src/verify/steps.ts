//! The steps of a verification, in the order of trust: each compares with something that an earlier one established.

import { type Pins, verifyAnchor } from "./anchor.ts";
import {
  type Bundle,
  citedWords,
  type DatapointProof,
  FIELDS,
  OPENINGS,
  type Opening,
  OutsideResponse,
} from "./bundle.ts";
import {
  type Checkpoint,
  type Cosignature,
  parseCheckpoint,
  parsePublicKey,
  verifyCosignature,
  WITNESS_KEY,
} from "./checkpoint.ts";
import { type Candidate, type Citation, checkRecord, entryLeaf } from "./entry.ts";
import { attempt, Failure, type Finding, inTree, opens, sentence } from "./finding.ts";
import { checkAccess, checkGranted, cited, saysAccess } from "./grant.ts";
import { checkAgainst, checkInfluence, totals } from "./influence.ts";
import { KeyHistory, type Trust } from "./trust.ts";
import { quoted } from "./words.ts";

/** A step that is to be done. */
export interface Planned {
  /** Where in the bundle, such as `datapoints[0].disclosed.text`. */
  id: string;
  /** What is checked, in a few words. */
  title: string;
  /** Checks it, or throws a {@link Failure}. */
  run: () => Promise<Finding>;
}

/**
 * Everything to check in a bundle of the right form. `trusted` is the key given by the person, if any; `pins` is what
 * the person knows of the blockchain.
 */
export function plan(bundle: Bundle, trusted: Trust | null, pins: Pins = {}): Planned[] {
  return new Plan(bundle, trusted, pins).steps();
}

class Plan {
  private readonly bundle: Bundle;
  private readonly trusted: Trust | null;
  private readonly pins: Pins;
  private keys!: KeyHistory;
  private checkpoint!: Checkpoint;
  /** The candidate that the next datapoint may be of, at the earliest. */
  private next = 0;
  private readonly proved = new Set<Candidate>();
  private readonly candidates: Candidate[];

  constructor(bundle: Bundle, trusted: Trust | null, pins: Pins) {
    this.bundle = bundle;
    this.trusted = trusted;
    this.pins = pins;
    this.candidates = bundle.record.retrieval?.candidates ?? [];
  }

  steps(): Planned[] {
    const { openings, record } = this.bundle;
    const steps: Planned[] = [
      {
        id: "key",
        title: this.trusted ? "The key is the one you trust" : "The key is yet to be confirmed",
        run: () => this.checkKey(),
      },
      { id: "log.checkpoint", title: "The log signed the checkpoint", run: () => this.checkCheckpoint() },
    ];
    for (const i of (this.bundle.log.rotations ?? []).keys()) {
      const title = "The change of the log's key is in the log";
      steps.push({ id: `log.rotations[${i}]`, title, run: () => this.checkRotation(i) });
    }
    if (this.bundle.log.witnesses || this.bundle.log.checkpoint.split("\n").length > 6) {
      steps.push({
        id: "log.witnesses",
        title: "Witnesses saw this history",
        run: () => this.checkWitnesses(),
      });
    }
    steps.push(
      { id: "record", title: "The record does not contradict itself", run: () => this.checkRecord() },
      { id: "log.path", title: "The record is in the log", run: () => this.checkInLog() },
    );
    if (this.bundle.log.anchor) {
      const title = "A blockchain holds the log with this record in it";
      steps.push({ id: "log.anchor", title, run: () => this.checkAnchor() });
    }
    for (const [i, proof] of this.bundle.datapoints.entries()) steps.push(...this.datapoint(proof, i));
    const complete = () => this.checkComplete();
    steps.push({ id: "datapoints", title: "No passage of the prompt is left out", run: complete });
    for (const name of OPENINGS) {
      const opening = openings[name];
      if (!opening) continue;
      const title = `The ${name} shown is the one that was logged`;
      steps.push({ id: `openings.${name}`, title, run: () => this.checkOpening(name, opening) });
    }
    for (const [i, citation] of record.citations.entries()) {
      const title = `Citation ${i + 1} lies within the answer`;
      steps.push({ id: `record.citations[${i}]`, title, run: () => this.checkCitation(citation) });
    }
    if (this.bundle.influence) {
      steps.push({
        id: "influence",
        title: "How much each passage mattered is in the log",
        run: () => this.checkInfluence(),
      });
    }
    if (saysAccess(this.bundle)) {
      const title = "By what right each datanet was searched";
      steps.push({ id: "grants", title, run: () => checkAccess(this.bundle) });
    }
    for (const [i, { datanet }] of cited(this.bundle).entries()) {
      const title = `The grant under which ${datanet} was searched`;
      steps.push({ id: `grants[${i}]`, title, run: () => checkGranted(this.bundle, i, this.checkpoint) });
    }
    return steps;
  }

  private datapoint(proof: DatapointProof, i: number): Planned[] {
    const id = `datapoints[${i}]`;
    const { datanet, seq } = proof.commitment;
    const name = proof.n === null ? `Datapoint ${datanet} #${seq}` : `Passage ${proof.n}`;
    // Found by name, not by what an earlier step left behind: two datapoints may claim the same place.
    const at = this.candidates.findIndex((c) => c.datanet === datanet && c.seq === seq);
    const candidate = this.candidates[at];
    const steps: Planned[] = [
      {
        id: `${id}.commitment`,
        title: `${name} is the datapoint that the record names`,
        run: () => this.checkNamed(proof, candidate, at),
      },
      {
        id: `${id}.inclusion`,
        title: `${name} is in the datanet's snapshot`,
        run: () => this.checkInSnapshot(proof, candidate),
      },
    ];
    for (const field of FIELDS) {
      const opening = proof.disclosed[field];
      if (!opening) continue;
      const title = `${name}: the ${field} shown is the one contributed`;
      const run = () => opens(opening, proof.commitment[field], field);
      steps.push({ id: `${id}.disclosed.${field}`, title, run });
    }
    if (proof.erased) {
      steps.push({
        id: `${id}.erased`,
        title: `${name}: its erasure is in the log`,
        run: () => this.checkErased(proof),
      });
    }
    steps.push({
      id: `${id}.status`,
      title: `${name}: its status is right`,
      run: async () => checkStatus(proof),
    });
    return steps;
  }

  private async checkKey(): Promise<Finding> {
    const found = this.bundle.key;
    const rotations = (this.bundle.log.rotations ?? []).map(({ rotation }) => rotation);
    const trusted = this.trusted;
    const key =
      trusted?.key ?? (await attempt("wrong_key", "The key in the file", () => parsePublicKey(found)));
    const values = [
      { label: trusted ? "public key" : "public key, not confirmed", expected: key.line, found },
    ];
    const history = (more: typeof rotations) => {
      const known = [...(trusted?.rotations ?? []), ...more];
      return attempt("rotation", "The key", () => KeyHistory.of(key, known), values);
    };
    if (rotations.length === 0 && !(await history([])).has(found)) {
      throw new Failure("wrong_key", "The file is of another log than the one whose key you trust.", values);
    }
    this.keys = await history(rotations);
    if (trusted && found === key.line)
      return { detail: "The key named in the file is the key you gave.", values };
    if (trusted) {
      const detail = "The key you gave leads to the key in the file: both sides of each change signed it.";
      return { detail, values: [{ label: "public key", expected: found, found }] };
    }
    const detail =
      "You gave no key, so the one in the file is used. That shows only that the file agrees with itself: " +
      `compare this key with the one that ${key.origin} publishes.`;
    return { detail, values, unconfirmed: true };
  }

  private async checkCheckpoint(): Promise<Finding> {
    const text = this.bundle.log.checkpoint;
    const checkpoint = await attempt("checkpoint", "The checkpoint", async () => parseCheckpoint(text));
    const key = this.keys.at(checkpoint.size);
    const values = [
      { label: "log", expected: key.origin, found: checkpoint.origin },
      { label: "key id", expected: key.id, found: checkpoint.keyId },
    ];
    await attempt("checkpoint", "The checkpoint", () => this.keys.verify(checkpoint), values);
    if (key.line !== this.bundle.key) {
      const named = [{ label: "public key", expected: key.line, found: this.bundle.key }];
      throw new Failure(
        "wrong_key",
        "The key named in the file is not the one that signed at this size.",
        named,
      );
    }
    this.checkpoint = checkpoint;
    const detail =
      `The log ${checkpoint.origin} signed that it holds ${checkpoint.size} entries with root ${checkpoint.root}, ` +
      "and the Ed25519 signature is right.";
    return { detail, values };
  }

  private async checkRotation(i: number): Promise<Finding> {
    const proof = this.bundle.log.rotations?.[i];
    if (!proof) throw new Error("this step is planned only where there is a rotation");
    const { rotation, path } = proof;
    const what = `The change of key is not entry ${rotation.size} of the log`;
    const leaf = await entryLeaf(rotation);
    const finding = await this.inLog(leaf, rotation.size, path, "rotation_not_in_log", what);
    const detail = `Entry ${rotation.size}, at ${rotation.time}: from ${rotation.previous} to ${rotation.next}.`;
    return { ...finding, detail };
  }

  private async checkWitnesses(): Promise<Finding> {
    const lines = this.bundle.log.witnesses ?? [];
    const { cosignatures } = this.checkpoint;
    if (lines.length !== cosignatures.length) {
      const counts = `${lines.length} keys of witnesses stand beside ${cosignatures.length} cosignatures.`;
      throw new Failure("witness_count", counts);
    }
    const seen: string[] = [];
    for (const [i, line] of lines.entries()) {
      const cosignature = cosignatures[i] as Cosignature;
      await attempt("cosignature", `Witness ${i + 1}`, async () => {
        await verifyCosignature(this.checkpoint, cosignature, await parsePublicKey(line, WITNESS_KEY));
      });
      seen.push(`${cosignature.witness} at ${instant(cosignature.time)}`);
    }
    const detail =
      `Each signed that it saw this history of the log and no other: ${seen.join(", ")}. ` +
      "Their keys are those in the file; whether you trust them is for you to say.";
    return { detail, values: [] };
  }

  private async checkRecord(): Promise<Finding> {
    const { record } = this.bundle;
    await attempt("record", "The record", async () => checkRecord(record));
    const adapter = record.adapter_generation;
    const mixed = record.adapters
      ?.map(({ generation, weight }) => `${generation} at weight ${weight}`)
      .join(" and ");
    const named = mixed ? `adapter generations ${mixed}` : `adapter generation ${adapter}`;
    const model = `model ${record.model}, ${adapter === null ? "without an adapter" : named}`;
    const used = this.candidates.filter((candidate) => candidate.in_prompt !== null).length;
    const drew = record.retrieval
      ? `It considered ${this.candidates.length} datapoints, of which ${used} were put before the model.`
      : "It drew on no datanet.";
    return { detail: `Answer ${record.id} of ${record.time}, ${model}. ${drew}`, values: [] };
  }

  private async checkInLog(): Promise<Finding> {
    const { index, path } = this.bundle.log;
    const leaf = await entryLeaf(this.bundle.record);
    const what = `The record is not entry ${index} of the log of ${this.checkpoint.size} entries`;
    const finding = await this.inLog(leaf, index, path, "record_not_in_log", what);
    const detail =
      `It is entry ${index} of ${this.checkpoint.size}: its hash ${leaf} and the ${path.length} hashes of the proof ` +
      "lead to the root that was signed, so no letter of it was changed.";
    return { ...finding, detail };
  }

  private async checkAnchor(): Promise<Finding> {
    const { anchor: proof, index } = this.bundle.log;
    if (!proof) throw new Error("this step is planned only where there is an anchor");
    const { anchor, path } = proof;
    const { size, event } = anchor;
    const { block, time, pinned, values } = await attempt("anchor", "The anchor", async () =>
      verifyAnchor(anchor, this.checkpoint.origin, this.pins),
    );
    const root = anchor.root.slice(2);
    if (BigInt(size) === this.checkpoint.size) {
      values.push({ label: "root of the checkpoint", expected: this.checkpoint.root, found: root });
      if (root !== this.checkpoint.root) {
        const two = `The log signed another root for its first ${size} entries than the one that it put on the blockchain.`;
        throw new Failure("anchor_contradicts", two, values);
      }
    }
    const leaf = await entryLeaf(this.bundle.record);
    const what = `The record is not entry ${index} of the ${size} that are on the blockchain`;
    const place = await inTree(leaf, index, BigInt(size), path, root, "not_anchored", what);
    const made = `block ${block} of blockchain ${event.chain_id}, made at ${instant(time)}`;
    const detail = pinned
      ? `The block with the hash that you gave, ${made}, holds the first ${size} entries of the log, this record among ` +
        "them: it existed by then, whatever the operator's clock said."
      : `The file holds a block that calls itself ${made}; the first ${size} entries of the log are in it, this record ` +
        `among them. Whether block ${event.block_hash} is on that blockchain is for you to compare.`;
    return {
      detail,
      values: [...values, ...place.values],
      ...(place.path && { path: place.path }),
      unconfirmed: !pinned,
    };
  }

  private async checkNamed(
    proof: DatapointProof,
    candidate: Candidate | undefined,
    at: number,
  ): Promise<Finding> {
    const { datanet, seq, contributed_at, licence, id } = proof.commitment;
    if (!candidate) {
      throw new Failure(
        "datapoint_not_in_record",
        `${datanet} #${seq} is not among the record's candidates.`,
      );
    }
    if (at < this.next) {
      throw new Failure(
        "datapoint_order",
        `${datanet} #${seq} is out of the record's order, or there twice.`,
      );
    }
    this.next = at + 1;
    this.proved.add(candidate);
    const leaf = await entryLeaf(proof.commitment);
    const values = [{ label: "leaf hash", expected: candidate.leaf, found: leaf }];
    if (leaf !== candidate.leaf) {
      throw new Failure(
        "leaf_mismatch",
        "It is not the datapoint that the record names: a member was changed.",
        values,
      );
    }
    const numbers: [string, number | null, number | null][] = [
      ["n", candidate.in_prompt, proof.n],
      ["inclusion.index", candidate.seq, proof.inclusion.index],
      ["inclusion.size", this.snapshotOf(candidate).size, proof.inclusion.size],
    ];
    for (const [label, expected, found] of numbers) {
      values.push({ label, expected: String(expected), found: String(found) });
      if (expected !== found) {
        throw new Failure(
          "number_mismatch",
          `${label} is ${found}, but by the record it is ${expected}.`,
          values,
        );
      }
    }
    const detail = `Datapoint ${id} of ${datanet}, contributed ${contributed_at}, licence ${licence}.`;
    return { detail, values };
  }

  private async checkInSnapshot(proof: DatapointProof, candidate: Candidate | undefined): Promise<Finding> {
    if (!candidate) throw new Failure("datapoint_not_in_record", "It is not among the record's candidates.");
    const { size, root, lance_version } = this.snapshotOf(candidate);
    const { index, path } = proof.inclusion;
    const { datanet } = candidate;
    const what = `It is not in the snapshot of ${datanet}`;
    const finding = await inTree(candidate.leaf, index, BigInt(size), path, root, "not_in_snapshot", what);
    const detail =
      `It is number ${index} of the ${size} datapoints of ${datanet}, version ${lance_version}: its hash and the ` +
      `${path.length} hashes of the proof lead to the root in the record.`;
    return { ...finding, detail };
  }

  private async checkErased(proof: DatapointProof): Promise<Finding> {
    const { erased, disclosed, commitment } = proof;
    if (!erased) throw new Error("this step is planned only where there is a tombstone");
    if (Object.keys(disclosed).length > 0) {
      throw new Failure("disclosed_after_erasure", "Fields are disclosed although its erasure is logged.");
    }
    const { tombstone, index, path } = erased;
    const values = [
      { label: "datanet", expected: commitment.datanet, found: tombstone.datanet },
      { label: "position", expected: String(commitment.seq), found: String(tombstone.seq) },
      { label: "leaf hash", expected: await entryLeaf(commitment), found: tombstone.leaf },
    ];
    if (values.some(({ expected, found }) => expected !== found)) {
      throw new Failure("tombstone_mismatch", "The tombstone is of another datapoint.", values);
    }
    const what = `The tombstone is not entry ${index} of the log`;
    const finding = await this.inLog(await entryLeaf(tombstone), index, path, "tombstone_not_in_log", what);
    const detail = `Its content was erased on ${tombstone.time}; the tombstone is entry ${index} of the log.`;
    return { ...finding, detail, values: [...values, ...finding.values] };
  }

  private async checkInfluence(): Promise<Finding> {
    const proof = this.bundle.influence;
    if (!proof) throw new Error("this step is planned only where influence was measured");
    const { index, path, entry } = proof;
    const record = await entryLeaf(this.bundle.record);
    await attempt("influence", "The entry on influence", async () => {
      checkInfluence(entry);
      checkAgainst(entry, this.bundle.record, record);
    });
    const what = `The entry on influence is not entry ${index} of the log`;
    const finding = await this.inLog(await entryLeaf(entry), index, path, "influence_not_in_log", what);
    const all = totals(entry).map((total, at) => `passage ${entry.passages[at]}: ${total.toFixed(2)}`);
    const detail =
      `Entry ${index} of the log says so, in nats (by 1 the answer is e times likelier): ${all.join(", ")}. ` +
      "It is the operator's measurement; who has the weights can repeat it.";
    return { ...finding, detail };
  }

  private async checkComplete(): Promise<Finding> {
    for (const candidate of this.candidates) {
      const { in_prompt, datanet, seq } = candidate;
      if (in_prompt !== null && !this.proved.has(candidate)) {
        const missing = `Passage ${in_prompt} (${datanet} #${seq}) was in the prompt, but its datapoint is missing.`;
        throw new Failure("datapoint_missing", missing);
      }
    }
    const rest = this.candidates.length - this.proved.size;
    const unused = rest > 0 ? ` Considered but not used, and without one: ${rest}.` : "";
    return { detail: `Every passage of the prompt has its datapoint here.${unused}`, values: [] };
  }

  private async checkOpening(name: (typeof OPENINGS)[number], opening: Opening): Promise<Finding> {
    const { record } = this.bundle;
    const logged = name === "query" || name === "filter" ? record.retrieval?.[name] : record[name];
    if (logged === undefined) {
      const [code, what] =
        name === "filter"
          ? ["no_filter", "A filter is shown, but by the record the search had none."]
          : ["no_query", "A query is shown, but the record says that nothing was searched."];
      throw new Failure(code as string, what as string);
    }
    return opens(opening, logged, name);
  }

  private async checkCitation(citation: Citation): Promise<Finding> {
    const { n, start, end, kind } = citation;
    const why = kind === "marker" ? "the model marked it so" : "its words occur there";
    const response = this.bundle.openings.response;
    if (!response) {
      const detail = `Characters ${start} to ${end} cite passage ${n}: ${why}. The answer itself is not shown.`;
      return { detail, values: [] };
    }
    try {
      const words = citedWords(response.value, citation);
      return { detail: `${quoted(words)} cites passage ${n}: ${why}.`, values: [] };
    } catch (error) {
      if (error instanceof OutsideResponse) throw new Failure(error.code, sentence(error.message));
      throw error;
    }
  }

  private snapshotOf(candidate: Candidate) {
    const snapshot = this.bundle.record.retrieval?.datanets.find(({ name }) => name === candidate.datanet);
    if (!snapshot)
      throw new Error("the record's check makes sure that every candidate's datanet was searched");
    return snapshot;
  }

  private inLog(leaf: string, index: number, path: string[], code: string, what: string) {
    return inTree(leaf, index, this.checkpoint.size, path, this.checkpoint.root, code, what);
  }
}

function checkStatus({ disclosed, erased, status }: DatapointProof): Finding {
  const open = Object.keys(disclosed);
  const expected = open.length > 0 ? "disclosed" : erased ? "erased" : "withheld";
  const values = [{ label: "status", expected, found: status }];
  if (status !== expected) {
    throw new Failure("status_mismatch", `It is called ${status}, but it is ${expected}.`, values);
  }
  const details = {
    disclosed: `Shown: ${open.join(", ")}.`,
    erased: "Its content can be shown by nobody any more.",
    withheld: "Its content is not shown in this file; the commitments to it hold.",
  };
  return { detail: details[status], values };
}

/** Seconds since 1970 as a time, where a date can hold them. */
function instant(seconds: bigint): string {
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} s after 1970` : date.toISOString();
}
