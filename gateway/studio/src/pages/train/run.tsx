// One run: live while it lasts, its evaluation when it is done. Whoever comes back sees all that went before.
import { useMutation, useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { request } from "../../api/client";
import { evaluation, queryClient, training } from "../../api/queries";
import { events } from "../../api/sse";
import { Button, ButtonLink } from "../../ui/button";
import { Badge, Bar, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { bytes } from "../../ui/text";
import { Curves, type Point } from "./curves";
import { Figure, Status } from "./train";
import "./train.css";

interface Step extends Point {
  event: "step";
  steps: number;
  tokens_per_second: number;
  resident: number;
  eta: number;
}

interface Event {
  id: string;
  created_at: number;
  level: string;
  message: string;
  data: Step | ({ event: "evaluated" } & Point) | { event: string } | null;
}

/** The run's events from the first one on, as they come; read again when `turn` changes. */
function useEvents(id: string, turn: string): { all: Event[]; error: unknown } {
  const [all, setAll] = useState<Event[]>([]);
  const [error, setError] = useState<unknown>();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a run that goes on is followed anew
  useEffect(() => {
    const gone = new AbortController();
    const follow = async () => {
      const path = `/v1/fine_tuning/jobs/${encodeURIComponent(id)}/events?stream=true`;
      const response = await request(path, { signal: gone.signal });
      const heard: Event[] = [];
      for await (const data of events(response)) {
        if (data === "[DONE]") break;
        heard.push(JSON.parse(data) as Event);
        setAll([...heard]);
      }
      await queryClient.invalidateQueries({ queryKey: ["trainings"] });
      await queryClient.invalidateQueries({ queryKey: ["models"] });
    };
    follow().catch((reason: unknown) => {
      if (!gone.signal.aborted) setError(reason);
    });
    return () => gone.abort();
  }, [id, turn]);
  return { all, error };
}

export function RunPage() {
  const { id } = useParams({ from: "/train/$id" });
  const job = useQuery(training(id));
  const live = job.data?.status === "running" || job.data?.status === "queued";
  const { all, error } = useEvents(id, live ? "live" : "still");
  const steps = all.filter((event) => event.data?.event === "step").map((event) => event.data as Step);
  const heldOut = all
    .filter((event) => event.data?.event === "evaluated")
    .map((event) => event.data as unknown as Point);
  const last = steps.at(-1);
  const turn = useMutation({
    mutationFn: (what: "pause" | "resume" | "cancel") =>
      request(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}/${what}`, { method: "POST" }),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["trainings"] }),
  });
  const status = job.data?.status ?? "";
  const model = job.data?.fine_tuned_model;
  return (
    <Page
      title={model ?? "A training run"}
      lead={job.data && `On ${job.data.model}, from ${job.data.training_file.replace(/^datanet:/, "")}.`}
      actions={
        <div className="row">
          {model && (
            <ButtonLink look="primary" to="/chat" search={{ model }}>
              Chat with it
            </ButtonLink>
          )}
          {live && <Button onClick={() => turn.mutate("pause")}>Pause</Button>}
          {(status === "paused" || status === "failed") && (
            <Button look="primary" onClick={() => turn.mutate("resume")}>
              Go on
            </Button>
          )}
          {(live || status === "paused") && (
            <Button look="danger" onClick={() => turn.mutate("cancel")}>
              Cancel
            </Button>
          )}
        </div>
      }
    >
      <div className="stack-l">
        <ErrorNote error={job.error ?? error ?? turn.error} />
        {!job.data && !job.error && <Waiting lines={4} />}
        {job.data?.error && <Note tone="bad">{job.data.error.message}</Note>}
        {job.data && (
          <section className="card card-pad stack" aria-label="Progress">
            <div className="row">
              <Status status={status} />
              {last && (
                <span>
                  Step {last.step} of {last.steps}
                </span>
              )}
            </div>
            {live && <Bar {...(last ? { value: last.step, max: last.steps } : {})} label="Steps made" />}
            {last && (
              <dl className="train-figures">
                <Figure name="Loss" value={last.loss.toFixed(3)} />
                <Figure name="Held-out loss" value={heldOut.at(-1)?.loss.toFixed(3) ?? "–"} />
                <Figure name="Tokens a second" value={last.tokens_per_second.toFixed(0)} />
                <Figure name="Memory" value={bytes(last.resident)} />
                {live && <Figure name="Time left" value={duration(last.eta)} />}
              </dl>
            )}
            <Curves train={steps} heldOut={heldOut} steps={last?.steps ?? 1} />
          </section>
        )}
        {status === "succeeded" && <Evaluated id={id} />}
        {all.length > 0 && (
          <section className="card card-pad stack-s" aria-label="What happened">
            <h2>What happened</h2>
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a list that scrolls must be reachable by keyboard */}
            <ol className="train-log" tabIndex={0} aria-label="Messages, newest first">
              {all
                .filter((event) => event.data?.event !== "step")
                .reverse()
                .map((event) => (
                  <li key={event.id}>{event.message}</li>
                ))}
            </ol>
          </section>
        )}
      </div>
    </Page>
  );
}

const NAMES: Record<string, string> = {
  perplexity: "Perplexity",
  bits_per_byte: "Bits per byte",
  bleu: "BLEU",
  rouge1: "ROUGE-1",
  rouge2: "ROUGE-2",
  rouge_l: "ROUGE-L",
  rouge_lsum: "ROUGE-Lsum",
  exact_match: "Exact match",
  normalised_match: "Match of words",
};
const LESS_IS_BETTER = new Set(["perplexity", "bits_per_byte"]);

function Evaluated({ id }: { id: string }) {
  const { data, error } = useQuery(evaluation(id));
  const report = useMutation({
    mutationFn: async () => {
      const response = await request(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}/report`);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await response.blob());
      link.download = `${id}.html`;
      link.click();
      URL.revokeObjectURL(link.href);
    },
  });
  if (!data) return error ? <Note>There is no evaluation: {error.message}</Note> : <Waiting />;
  return (
    <>
      <section className="stack-s" aria-label="Evaluation">
        <div className="row">
          <h2>Is it better?</h2>
          <Button small onClick={() => report.mutate()}>
            Download the report
          </Button>
        </div>
        <ErrorNote error={report.error} />
        <TableCard label="Base beside adapter">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">On {data.held_out.rows} held-out rows</th>
                <th scope="col">Base</th>
                <th scope="col">Adapter</th>
                <th scope="col">So it is</th>
              </tr>
            </thead>
            <tbody>
              {data.metrics.map((metric) => {
                const fell = metric.difference.value < 0;
                const better = fell === LESS_IS_BETTER.has(metric.kind);
                return (
                  <tr key={metric.kind}>
                    <th scope="row">{NAMES[metric.kind] ?? metric.kind}</th>
                    <td className="number">{metric.base.value.toPrecision(4)}</td>
                    <td className="number">
                      {metric.adapter.value.toPrecision(4)}{" "}
                      <span className="field-hint">
                        {metric.adapter.low.toPrecision(3)} to {metric.adapter.high.toPrecision(3)}
                      </span>
                    </td>
                    <td>
                      {metric.difference.significant ? (
                        <Badge tone={better ? "good" : "bad"}>{better ? "better" : "worse"}</Badge>
                      ) : (
                        <Badge>perhaps chance</Badge>
                      )}
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </TableCard>
      </section>
      {data.samples.length > 0 && (
        <section className="stack-s" aria-label="Answers side by side">
          <h2>Answers side by side</h2>
          {data.samples.slice(0, 4).map((sample) => (
            <div key={sample.prompt} className="card card-pad train-answers">
              <div>
                <h4>Should be</h4>
                <p>{sample.reference}</p>
              </div>
              <div>
                <h4>Base</h4>
                <p>{sample.base}</p>
              </div>
              <div>
                <h4>With the adapter</h4>
                <p>{sample.adapter}</p>
              </div>
            </div>
          ))}
        </section>
      )}
    </>
  );
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
