// Runs side by side: their curves over one another, their measures, and what was set otherwise.
import { useQueries } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { useState } from "react";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Segments } from "../../ui/field";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { Chart } from "./chart";
import { course } from "./course";
import { Status } from "./list";
import { figure, lowerIsBetter, TITLES } from "./measures";
import { said } from "./options";
import { evaluation, history, training } from "./queries";
import {
  dataOf,
  type Evaluation,
  isLive,
  type Job,
  type MetricKind,
  methodOf,
  nameOf,
  optionsOf,
} from "./shapes";
import "./train.css";

/** As many as there are colours to tell them apart. */
const MOST = 6;

export function Compare() {
  const { runs = "" } = useSearch({ from: "/train/compare" });
  const ids = [...new Set(runs.split(",").filter(Boolean))].slice(0, MOST);
  const [curve, setCurve] = useState<"training" | "held out">("training");
  const jobs = useQueries({
    queries: ids.map((id) => ({
      ...training(id),
      refetchInterval: ({ state }: { state: { data?: Job | undefined } }) =>
        state.data && isLive(state.data) ? 3000 : (false as const),
    })),
  });
  const live = (id: string) => jobs.some(({ data }) => data?.id === id && isLive(data));
  const events = useQueries({
    queries: ids.map((id) => ({ ...history(id), refetchInterval: live(id) ? 3000 : (false as const) })),
  });
  const results = useQueries({ queries: ids.map((id) => evaluation(id)) });
  const error = [...jobs, ...events, ...results].find((query) => query.error)?.error;
  const known = jobs.flatMap(({ data }) => (data ? [data] : []));
  const waiting = [...jobs, ...events, ...results].some((query) => query.isPending);
  const names = distinct(known);
  const series = known.map((_, n) => {
    const { steps, heldOut } = course(events[n]?.data ?? []);
    const points = (curve === "training" ? steps : heldOut).map(({ step, loss }) => [step, loss] as const);
    return { name: names[n] ?? "", tone: n + 1, points, marked: curve === "held out" };
  });
  return (
    <Page
      title="Compare runs"
      lead="Lower curves have learnt more, as long as the held-out ones fall too."
      above={
        <nav aria-label="Where you are" className="crumbs">
          <Link to="/train">Train</Link>
          <ChevronRight size={14} aria-hidden />
        </nav>
      }
    >
      <ErrorNote error={error} />
      {ids.length < 2 && <Note>Tick two or more runs under Train to compare them.</Note>}
      {waiting && !error && ids.length > 0 && <Waiting lines={5} />}
      {!waiting && known.length === ids.length && ids.length > 0 && (
        <div className="stack-l">
          <section className="card" aria-labelledby="curves">
            <div className="card-head">
              <h2 id="curves">Loss</h2>
              <div className="push">
                <Segments
                  label="Which curve"
                  value={curve}
                  options={[
                    ["training", "Training"],
                    ["held out", "Held out"],
                  ]}
                  onChange={setCurve}
                />
              </div>
            </div>
            <div className="card-pad">
              <Chart label={`${curve} loss of each run by step`} series={series} />
            </div>
          </section>
          <Measures jobs={known} names={names} results={results.map(({ data }) => data ?? null)} />
          <Differences jobs={known} names={names} />
        </div>
      )}
    </Page>
  );
}

/** Names, with the end of the id where two are the same. */
function distinct(jobs: Job[]): string[] {
  const names = jobs.map(nameOf);
  return names.map((name, n) =>
    names.filter((other) => other === name).length > 1 ? `${name} ${jobs[n]?.id.slice(-4)}` : name,
  );
}

function Head({ jobs, names, first }: { jobs: Job[]; names: string[]; first: string }) {
  return (
    <thead>
      <tr>
        <th scope="col">{first}</th>
        {jobs.map((job, n) => (
          <th key={job.id} scope="col" className={`number tone-${n + 1}`}>
            <i className="memory-swatch" aria-hidden />
            <Link to="/train/$id" params={{ id: job.id }} className="table-link">
              {names[n]}
            </Link>
          </th>
        ))}
      </tr>
    </thead>
  );
}

function Measures({
  jobs,
  names,
  results,
}: {
  jobs: Job[];
  names: string[];
  results: (Evaluation | null)[];
}) {
  const kinds = (Object.keys(TITLES) as MetricKind[]).filter((kind) =>
    results.some((result) => result?.metrics.some((metric) => metric.kind === kind)),
  );
  if (kinds.length === 0) return <Note>None of these runs has an evaluation yet.</Note>;
  return (
    <TableCard label="Measures">
      <table className="table">
        <Head jobs={jobs} names={names} first="Measure" />
        <tbody>
          {kinds.map((kind) => {
            const found = results.map((result) => result?.metrics.find((metric) => metric.kind === kind));
            const values = found.flatMap((metric) => (metric ? [metric.adapter.value] : []));
            const best = lowerIsBetter(kind) ? Math.min(...values) : Math.max(...values);
            const differ = new Set(values).size > 1;
            return (
              <tr key={kind}>
                <td>{TITLES[kind]}</td>
                {found.map((metric, n) => (
                  <td key={jobs[n]?.id} className="number">
                    {metric ? (
                      <>
                        <span className={differ && metric.adapter.value === best ? "best" : undefined}>
                          {figure(metric.adapter.value)}
                        </span>
                        <div className="quiet small">
                          base {figure(metric.base.value)} · {figure(metric.adapter.low)}–
                          {figure(metric.adapter.high)}
                        </div>
                      </>
                    ) : (
                      <span className="quiet">–</span>
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </TableCard>
  );
}

function Differences({ jobs, names }: { jobs: Job[]; names: string[] }) {
  const of = (job: Job) => ({
    base: job.model,
    "learns from": dataOf(job),
    method: methodOf(job),
    ...Object.fromEntries(Object.entries(optionsOf(job)).filter(([name]) => name !== "method")),
  });
  const settings: Record<string, unknown>[] = jobs.map(of);
  const all = [...new Set(settings.flatMap((one) => Object.keys(one)))];
  const other = all.filter((name) => new Set(settings.map((one) => said(one[name]))).size > 1);
  return (
    <TableCard label="What was set otherwise">
      <table className="table">
        <Head jobs={jobs} names={names} first="Set otherwise" />
        <tbody>
          <tr>
            <td>status</td>
            {jobs.map((job) => (
              <td key={job.id} className="number">
                <Status job={job} />
              </td>
            ))}
          </tr>
          {other.map((name) => (
            <tr key={name}>
              <td className="mono">{name}</td>
              {settings.map((one, n) => (
                <td key={jobs[n]?.id} className="number">
                  {said(one[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </TableCard>
  );
}
