// How much each passage mattered: measured after the answer, drawn as bars beside each other.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Gauge } from "lucide-react";
import { api, body, type Schemas } from "../api/client";
import { influence as influenceOf } from "../api/queries";
import { Button } from "../ui/button";
import { ErrorNote, Spinner } from "../ui/feedback";
import { plural } from "../ui/text";

type Measured = Schemas["Influence"];

/** The influence of the passages of an answer: of all, with the open one told apart, and of whose they are. */
export function Influence({ id, n, onSelect }: { id: string; n: number; onSelect: (n: number) => void }) {
  const { data, error } = useQuery(influenceOf(id));
  if (error) return <ErrorNote error={error} />;
  if (data === undefined) return <p className="quiet small">Looking …</p>;
  if (data === null || data.status === "failed") return <Measure id={id} failed={data?.error ?? null} />;
  if (data.status !== "measured") {
    return (
      <p className="quiet small row" role="status">
        <Spinner />
        {data.status === "waiting"
          ? "Waits to be measured: answers come first."
          : "Being measured: the answer is scored with and without each source."}
      </p>
    );
  }
  return <Bars data={data} n={n} onSelect={onSelect} />;
}

function Bars({ data, n, onSelect }: { data: Measured; n: number; onSelect: (n: number) => void }) {
  const most = Math.max(...data.passages.map(({ nats }) => Math.abs(nats)), 1e-9);
  const unsupported = data.sentences.filter(({ supported }) => !supported).length;
  const closed = sum(data.sentences.map(({ closed_book }) => closed_book));
  const all = sum(data.sentences.map(({ with_all }) => with_all));
  return (
    <>
      <ul className="influence" aria-label="Influence of each source">
        {data.passages.map((passage) => (
          <li key={passage.n} data-open={passage.n === n || undefined}>
            <button
              type="button"
              className="chip"
              aria-label={`Source ${passage.n}`}
              onClick={() => onSelect(passage.n)}
            >
              {passage.n}
            </button>
            <span className="score-track" aria-hidden>
              <span
                className="score-fill"
                data-against={passage.nats < 0 || undefined}
                style={{ width: `${(Math.abs(passage.nats) / most) * 100}%` }}
              />
            </span>
            <span className="numbers score-value">{passage.nats.toFixed(1)}</span>
            <span className="numbers quiet score-rank">{Math.round(passage.share * 100)} %</span>
          </li>
        ))}
      </ul>
      <p className="quiet small">
        First, how much likelier the source made the answer: by 1, it is 2.7 times as likely (a nat). Then its
        share of the help.{" "}
        {all - closed < 1
          ? "The model knew as much without any source."
          : `All sources together: ${(all - closed).toFixed(1)}.`}{" "}
        {unsupported > 0 && `${plural(unsupported, "sentence")} of ${data.sentences.length} rest on none.`}
      </p>
      {data.contributors.length > 0 && (
        <dl className="facts">
          {data.contributors.map(({ contributor, share }) => (
            <Part key={contributor} name={contributor} share={share} />
          ))}
        </dl>
      )}
    </>
  );
}

function Part({ name, share }: { name: string; share: number }) {
  return (
    <>
      <dt>{name}</dt>
      <dd className="numbers">{(share * 100).toFixed(1)} % of the help</dd>
    </>
  );
}

/** Where nothing was measured: have it done. */
function Measure({ id, failed }: { id: string; failed: string | null }) {
  const client = useQueryClient();
  const measure = useMutation({
    mutationFn: async () =>
      body(
        await api.POST("/v1/attributions/{id}/influence", {
          params: { path: { id } },
          body: { influence: "shapley", wait: false },
        }),
      ),
    onSuccess: (data) => client.setQueryData(influenceOf(id).queryKey, data),
  });
  return (
    <div className="stack">
      {failed && <p className="quiet small">It could not be measured: {failed}</p>}
      <Button small disabled={measure.isPending} onClick={() => measure.mutate()}>
        {measure.isPending ? <Spinner /> : <Gauge size={15} aria-hidden />}
        Measure it
      </Button>
      <ErrorNote error={measure.error} />
    </div>
  );
}

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
