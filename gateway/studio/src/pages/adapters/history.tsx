// What a name has meant, step by step.
import type { Schemas } from "../../api/client";
import { Button } from "../../ui/button";
import { Badge, Waiting } from "../../ui/feedback";
import { TableHead } from "../../ui/table";
import { Ago, Hash } from "../../ui/text";

const WORDS: Record<string, string> = { publish: "published", rollback: "rolled back" };

export function History({
  steps,
  current,
  onPublish,
  onDelete,
  kept,
  stored,
  busy,
}: {
  steps: Schemas["AliasStep"][] | undefined;
  current: string;
  onPublish: ((generation: string) => void) | undefined;
  onDelete: ((generation: string) => void) | undefined;
  /** The one on trial, which cannot be deleted. */
  kept: string | undefined;
  /** Those that still exist; `undefined` where the reader may not know. */
  stored: string[] | undefined;
  busy: boolean;
}) {
  const gone = (generation: string) => stored !== undefined && !stored.includes(generation);
  return (
    <section className="card" aria-label="History">
      <div className="card-head">
        <h2>History</h2>
        <span className="quiet small">Every step is an entry of the transparency log.</span>
      </div>
      {!steps && (
        <div className="card-pad">
          <Waiting />
        </div>
      )}
      {steps && (
        <div className="table-scroll">
          <table className="table">
            <TableHead columns={["Generation", "Step", "By", "When", { hidden: "Actions" }]} />
            <tbody>
              {steps.map((step) => (
                <tr key={`${step.at}${step.generation}${step.action}`}>
                  <td>
                    <Hash value={step.generation} label="generation" />
                  </td>
                  <td>
                    {WORDS[step.action] ?? step.action}{" "}
                    {step.generation === current && <Badge tone="good">in use</Badge>}
                    {gone(step.generation) && <Badge>deleted</Badge>}
                  </td>
                  <td>{step.actor}</td>
                  <td className="quiet">
                    <Ago at={step.at} />
                  </td>
                  <td className="number">
                    {onPublish && step.generation !== current && !gone(step.generation) && (
                      <Button small disabled={busy} onClick={() => onPublish(step.generation)}>
                        Publish again
                      </Button>
                    )}
                    {onDelete &&
                      step.generation !== current &&
                      step.generation !== kept &&
                      !gone(step.generation) && (
                        <Button
                          small
                          look="quiet"
                          disabled={busy}
                          aria-label={`Delete ${step.generation.slice(0, 8)}`}
                          onClick={() => onDelete(step.generation)}
                        >
                          Delete…
                        </Button>
                      )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
