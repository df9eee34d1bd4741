//! Verifies a bundle before the reader's eyes: each step as it is done, with the values that were compared.

import { useEffect, useState } from "react";
import { AnchorPin } from "./AnchorPin.tsx";
import type { Pins } from "./anchor.ts";
import type { Comparison } from "./finding.ts";
import type { Node } from "./merkle.ts";
import { type Status, type Step, type Verification, verifyBundle } from "./verify.ts";

interface Props {
  /** The bundle's file. Pass the same array again to leave a finished verification alone. */
  bytes: Uint8Array;
  /** The text of the key file that the reader trusts, or `null` to use the key in the bundle, unconfirmed. */
  publicKey: string | null;
  /** Whose word stands behind that key, as a part of a sentence; said with the verdict. */
  keyFrom?: string;
  /** Called when all is done. */
  onDone?: (verification: Verification) => void;
}

interface Progress {
  steps: Step[];
  total: number;
  result?: Verification;
}

/** The steps of a verification, as an ordered list; what came out is announced to screen readers. */
export function VerifySteps({ bytes, publicKey, keyFrom, onDone }: Props) {
  const [blockHash, setBlockHash] = useState<string | null>(null);
  const progress = useVerification(bytes, publicKey, blockHash, onDone);
  const anchor = progress.result?.bundle?.log.anchor?.anchor;
  return (
    <section className="verify" aria-label="Verification">
      <Verdict progress={progress} {...(keyFrom && { keyFrom })} />
      <ol className="verify-steps">
        {progress.steps.map((step) => (
          <StepItem key={step.id} step={step} />
        ))}
      </ol>
      {anchor && <AnchorPin anchor={anchor} pinned={blockHash} onPin={setBlockHash} />}
      {progress.result && progress.result.notShown.length > 0 && (
        <NotShown sentences={progress.result.notShown} />
      )}
    </section>
  );
}

/** One step: title, outcome, and the values behind it on demand. A failed step is open. */
export function StepItem({ step }: { step: Step }) {
  const { status, title, detail, values, path } = step;
  return (
    <li className="verify-step" data-status={status} data-step={step.id}>
      <span className="verify-mark" aria-hidden="true">
        {MARKS[status]}
      </span>
      <div className="verify-body">
        <p className="verify-title">
          {title}
          <span className="verify-hidden">: {SPOKEN[status]}</span>
        </p>
        {detail && (
          <p className="verify-detail">
            <bdi>{detail}</bdi>
          </p>
        )}
        {(values.length > 0 || path.length > 0) && (
          <details className="verify-values" open={status === "failed"}>
            <summary>{values.length > 0 ? "Values compared" : "Hashes computed"}</summary>
            {values.map((value) => (
              <Compared key={value.label} value={value} />
            ))}
            {path.length > 0 && <Climbed path={path} />}
          </details>
        )}
      </div>
    </li>
  );
}

const MARKS: Record<Status, string> = {
  running: "…",
  passed: "✓",
  unconfirmed: "?",
  failed: "✗",
  skipped: "–",
};

const SPOKEN: Record<Status, string> = {
  running: "being checked",
  passed: "holds",
  unconfirmed: "agrees, but is not confirmed",
  failed: "does not hold",
  skipped: "not checked",
};

function Verdict({ progress: { steps, total, result }, keyFrom }: { progress: Progress; keyFrom?: string }) {
  const verdict = result?.verdict ?? "running";
  return (
    <p className="verify-verdict" data-verdict={verdict} role="status" aria-live="polite">
      {result ? sentence(result, keyFrom) : "Checking the bundle on this device…"}
      {!result && total > 0 && (
        // Not announced: a count that changes thirty times a second is noise.
        <span className="verify-count" aria-hidden="true">
          {` ${steps.length} of ${total}`}
        </span>
      )}
    </p>
  );
}

function sentence({ verdict, steps, failed, trouble }: Verification, keyFrom?: string): string {
  const open = steps.filter(({ status }) => status === "unconfirmed").length;
  switch (verdict) {
    case "proved": {
      const hold =
        open === 0
          ? `All ${steps.length} steps hold`
          : `${steps.length - open} of ${steps.length} steps hold, and the block on the blockchain is yet to be confirmed`;
      return `Proved. ${hold}, computed on this device${keyFrom ? ` with ${keyFrom}` : ""}.`;
    }
    case "unconfirmed":
      return `All ${steps.length} steps agree, but with the key in the file itself. Give the log’s key to prove it.`;
    case "failed":
      return `Not proved. Do not rely on this bundle. ${failed ? `“${failed.title}” does not hold.` : ""}`;
    case "trouble":
      return `It could not be checked. ${trouble}`;
  }
}

function Compared({ value: { label, expected, found } }: { value: Comparison }) {
  const same = expected === found;
  return (
    <dl className="verify-compared" data-same={same}>
      <dt>{label}</dt>
      {same ? (
        <dd>
          <code>{found}</code> <span className="verify-same">the same on both sides</span>
        </dd>
      ) : (
        <>
          <dd>
            expected <code>{expected}</code>
          </dd>
          <dd>
            found <code>{found}</code>
          </dd>
        </>
      )}
    </dl>
  );
}

function Climbed({ path }: { path: Node[] }) {
  return (
    <table className="verify-path">
      <caption>From the leaf to the root</caption>
      <thead>
        <tr>
          <th scope="col">Level</th>
          <th scope="col">Hash from the proof</th>
          <th scope="col">Hash of both</th>
        </tr>
      </thead>
      <tbody>
        {path.map(({ sibling, given, hash }, level) => (
          // Levels have no other name than their number, and never move.
          <tr key={hash}>
            <td>{level + 1}</td>
            <td>
              <code>{given}</code> on the {sibling}
            </td>
            <td>
              <code>{hash}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function NotShown({ sentences }: { sentences: string[] }) {
  return (
    <div className="verify-not-shown">
      <p className="verify-title">Not shown by this bundle</p>
      <ul>
        {sentences.map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
    </div>
  );
}

function useVerification(
  bytes: Uint8Array,
  publicKey: string | null,
  blockHash: string | null,
  onDone: Props["onDone"],
): Progress {
  const [progress, setProgress] = useState<Progress>({ steps: [], total: 0 });
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new callback is no reason to verify again
  useEffect(() => {
    let current = true;
    setProgress({ steps: [], total: 0 });
    const show = async (step: Step, position: number, total: number) => {
      if (!current) return;
      setProgress(({ steps }) => ({ steps: [...steps.slice(0, position), step], total }));
      // Lets the page be drawn: hashing alone would show only the end.
      await new Promise((resolve) => setTimeout(resolve));
    };
    const finish = (result: Verification) => {
      if (!current) return;
      setProgress({ steps: result.steps, total: result.steps.length, result });
      onDone?.(result);
    };
    const pins: Pins = blockHash === null ? {} : { blockHash };
    verifyBundle(bytes, publicKey, show, pins).then(finish, (error: unknown) => {
      const trouble = `The verifier itself failed: ${error instanceof Error ? error.message : error}.`;
      finish({ verdict: "trouble", steps: [], trouble, notShown: [] });
    });
    return () => {
      current = false;
    };
  }, [bytes, publicKey, blockHash]);
  return progress;
}
