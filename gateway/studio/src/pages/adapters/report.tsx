// How an adapter fits its base: the verdict, the reasons, and every tensor on demand.
import { Badge, Note } from "../../ui/feedback";
import { bytes, count, plural } from "../../ui/text";

type Check = "matched" | "differs" | "not_stated";

interface Tensor {
  name: string;
  shape: number[];
  expected: number[];
  outcome: "matched" | "wrong_shape" | "not_in_base" | "missing";
}

/** The gateway's report; its description leaves the shape open. */
export interface Report {
  accepted: boolean;
  base: string;
  reasons: string[];
  notes: string[];
  architecture: Check;
  tokenizer: Check;
  chat_template: Check;
  targeted: number | null;
  adapted: number;
  rank: number;
  bytes: number;
  tensors: Tensor[];
}

const SAID: Record<Check, string> = { matched: "the same", differs: "differs", not_stated: "not stated" };
const OUTCOMES: Record<Tensor["outcome"], string> = {
  matched: "fits",
  wrong_shape: "wrong shape",
  not_in_base: "not in the base",
  missing: "missing",
};

/** Reasons that are shown in full; one cause often gives one for every layer, and the tensors are all listed below. */
const SHOWN = 3;

export function CompatibilityReport({ report }: { report: Report }) {
  const bad = report.tensors.filter((tensor) => tensor.outcome !== "matched");
  return (
    <section className="stack" aria-label="Compatibility report">
      {report.accepted ? (
        <Note tone="good">
          It fits {report.base}: {plural(report.adapted, "module")} at rank {report.rank}.
        </Note>
      ) : (
        <Note tone="bad">
          It does not fit {report.base}.
          {report.reasons.slice(0, SHOWN).map((reason) => (
            <p key={reason}>{reason}</p>
          ))}
          {report.reasons.length > SHOWN && (
            <p>And {count(report.reasons.length - SHOWN)} more like these.</p>
          )}
        </Note>
      )}
      {report.notes.map((note) => (
        <Note key={note} tone="warn">
          {note}
        </Note>
      ))}
      <dl className="facts report-facts">
        {(["architecture", "tokenizer", "chat_template"] as const).map((name) => (
          <Fact key={name} name={name.replace("_", " ")} value={report[name]} />
        ))}
        <dt>modules</dt>
        <dd className="numbers">
          {count(report.adapted)} adapted
          {report.targeted !== null && ` of ${count(report.targeted)} targeted`}
        </dd>
        <dt>rank</dt>
        <dd className="numbers">{report.rank}</dd>
        <dt>weights</dt>
        <dd className="numbers">{bytes(report.bytes)}</dd>
      </dl>
      <details open={bad.length > 0}>
        <summary className="report-summary">
          {plural(report.tensors.length, "tensor")}
          {bad.length > 0 && `, ${count(bad.length)} that do not fit`}
        </summary>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
        <section className="report-tensors" aria-label="Tensors" tabIndex={0}>
          <table className="table table-dense">
            <tbody>
              {[...bad, ...report.tensors.filter((tensor) => tensor.outcome === "matched")].map((tensor) => (
                <tr key={tensor.name}>
                  <td className="mono">{tensor.name}</td>
                  <td className="numbers quiet">{tensor.shape.join(" × ") || tensor.expected.join(" × ")}</td>
                  <td>
                    <Badge tone={tensor.outcome === "matched" ? "good" : "bad"}>
                      {OUTCOMES[tensor.outcome]}
                    </Badge>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      </details>
    </section>
  );
}

function Fact({ name, value }: { name: string; value: Check }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{SAID[value]}</dd>
    </>
  );
}
