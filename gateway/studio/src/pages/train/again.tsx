// A finished run's adapter beside its base once more, on other rows: a process of the gateway's own, which this page looks on at.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { request, type Schemas, upload } from "../../api/client";
import { Button } from "../../ui/button";
import { Drop } from "../../ui/drop";
import { Bar, ErrorNote, Note, Spinner } from "../../ui/feedback";
import { Ago, plural } from "../../ui/text";
import { EvaluationOf } from "./evaluation";
import { moment } from "./list";
import { evaluationResult, evaluations } from "./queries";
import type { Job } from "./shapes";

type Evaluated = Schemas["EvaluationJob"];

const live = ({ status }: Evaluated) => status === "queued" || status === "running";

export function EvaluateAgain({ job }: { job: Job }) {
  const client = useQueryClient();
  const model = job.fine_tuned_model;
  const { data, error } = useQuery({
    ...evaluations,
    refetchInterval: ({ state }) => (state.data?.some(live) ? 1500 : false),
  });
  const begin = useMutation({
    mutationFn: async (content: File) => {
      const form = upload([{ name: content.name, content }]);
      form.append("purpose", "fine-tune");
      const file = (await (await request("/v1/files", { method: "POST", body: form })).json()) as {
        id: string;
      };
      await request("/v1/evaluations", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model, evaluation_file: file.id, metadata: { data: content.name } }),
      });
    },
    onSuccess: () => client.invalidateQueries({ queryKey: evaluations.queryKey }),
  });
  const mine = (data ?? []).filter((one) => one.model === model);
  return (
    <details className="card fold">
      <summary className="fold-head">
        <h2>Evaluate again</h2>
        <span className="quiet small">
          {mine.length > 0 ? plural(mine.length, "time") : "On rows that it did not learn from, of a file."}
        </span>
      </summary>
      <div className="card-pad stack">
        <Drop
          label="Choose a file of examples, or drop it here"
          hint="In any of the forms that a run learns from. Base and adapter are compared on its rows, as at the end of the run."
          accept=".jsonl,.ndjson,.json,.txt,.md"
          onFiles={([next]) => next && begin.mutate(next)}
        />
        {begin.isPending && (
          <p className="row quiet" role="status">
            <Spinner /> Sending and checking every row
          </p>
        )}
        <ErrorNote error={begin.error ?? error} />
        {mine.map((one) => (
          <One key={one.id} evaluated={one} />
        ))}
      </div>
    </details>
  );
}

function One({ evaluated }: { evaluated: Evaluated }) {
  const [open, setOpen] = useState(false);
  const result = useQuery({ ...evaluationResult(evaluated.id), enabled: open });
  const { done, of } = (evaluated.progress ?? {}) as { done?: number; of?: number };
  return (
    <section className="stack" aria-label={`Evaluation of ${plural(evaluated.rows, "row")}`}>
      <p className="row row-wrap">
        <strong>{evaluated.metadata?.data ?? evaluated.evaluation_file}</strong>
        <span className="quiet small">
          {plural(evaluated.rows, "row")} · {evaluated.status} · <Ago at={moment(evaluated.created_at)} />
        </span>
        {evaluated.status === "succeeded" && (
          <Button small onClick={() => setOpen(!open)} aria-expanded={open}>
            {open ? "Hide" : "Show"}
          </Button>
        )}
      </p>
      {live(evaluated) && <Bar label="Evaluated" {...(done && of ? { value: done, max: of } : {})} />}
      {evaluated.error && <Note tone="bad">{evaluated.error.message}</Note>}
      <ErrorNote error={result.error} />
      {open && result.data && <EvaluationOf evaluation={result.data} />}
    </section>
  );
}
