// Runs: what was trained, from what, and how it went. Two or more can be laid side by side.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChartSpline, Plus } from "lucide-react";
import { useState } from "react";
import { ButtonLink } from "../../ui/button";
import { Badge, Bar, Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { Checkbox } from "../../ui/field";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { Ago } from "../../ui/text";
import { trainings } from "./queries";
import { dataOf, isLive, type Job, methodOf, nameOf, type Step } from "./shapes";
import "./train.css";
import { TableHead } from "../../ui/table";

const TONES = {
  succeeded: "good",
  failed: "bad",
  paused: "warn",
} as const;

export function Status({ job }: { job: Job }) {
  const tone = TONES[job.status as keyof typeof TONES] ?? "plain";
  return (
    <Badge tone={tone} dot={isLive(job)}>
      {job.status}
    </Badge>
  );
}

export function moment(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

export function Train() {
  const { data, error } = useQuery({
    ...trainings,
    refetchInterval: ({ state }) => (state.data?.some(isLive) ? 2000 : 30_000),
  });
  const [picked, setPicked] = useState<string[]>([]);
  const pick = (id: string, on: boolean) =>
    setPicked((all) => (on ? [...all, id] : all.filter((other) => other !== id)));
  return (
    <Page
      title="Train"
      lead="Teach a base model from examples or a datanet. What it learns becomes an adapter, which answers at once."
      actions={
        <>
          {picked.length > 1 && (
            <ButtonLink to="/train/compare" search={{ runs: picked.join(",") }}>
              <ChartSpline size={16} aria-hidden />
              Compare {picked.length} runs
            </ButtonLink>
          )}
          <ButtonLink to="/train/new" look="primary">
            <Plus size={16} aria-hidden />
            New run
          </ButtonLink>
        </>
      }
    >
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={4} />}
      {data?.length === 0 && (
        <div className="card">
          <Empty
            title="No runs yet"
            action={
              <ButtonLink to="/train/new" look="primary">
                Start the first
              </ButtonLink>
            }
          >
            A few dozen examples are enough for a first look. They are checked, and the memory and time are
            predicted, before anything starts.
          </Empty>
        </div>
      )}
      {data && data.length > 0 && (
        <div className="stack-s">
          <TableCard label="Runs">
            <table className="table">
              <TableHead
                columns={[
                  { hidden: "Compare" },
                  "Run",
                  "Status",
                  "Learns from",
                  "Method",
                  { number: "Loss" },
                  "Started",
                ]}
              />
              <tbody>
                {data.map((job) => (
                  <Row key={job.id} job={job} picked={picked.includes(job.id)} onPick={pick} />
                ))}
              </tbody>
            </table>
          </TableCard>
          {data.length > 1 && (
            <p className="quiet small">
              Tick two or more runs to lay their curves and measures side by side.
            </p>
          )}
        </div>
      )}
    </Page>
  );
}

function Row({
  job,
  picked,
  onPick,
}: {
  job: Job;
  picked: boolean;
  onPick: (id: string, on: boolean) => void;
}) {
  const progress = job.progress as unknown as Step | null | undefined;
  return (
    <tr>
      <td className="run-pick">
        <Checkbox checked={picked} onChange={(on) => onPick(job.id, on)}>
          <span className="hidden-visually">Compare {nameOf(job)}</span>
        </Checkbox>
      </td>
      <td>
        <Link to="/train/$id" params={{ id: job.id }} className="table-link">
          {nameOf(job)}
        </Link>
        <div className="quiet small">{job.model}</div>
      </td>
      <td>
        <Status job={job} />
        {job.status === "running" && (
          <div className="run-progress">
            <Bar
              label={`${nameOf(job)}, steps`}
              {...(progress ? { value: progress.step, max: progress.steps } : {})}
            />
          </div>
        )}
      </td>
      <td className="run-data">{dataOf(job)}</td>
      <td>{methodOf(job)}</td>
      <td className="number">{progress ? progress.loss.toFixed(3) : <span className="quiet">–</span>}</td>
      <td className="quiet">
        <Ago at={moment(job.created_at)} />
      </td>
    </tr>
  );
}
