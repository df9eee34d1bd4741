// One run: live while it goes on, its evaluation once it is done. It needs no browser: this page only looks on.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { Blocks, ChevronRight, FileText, MessageSquareText, Pause, Play, Trash2 } from "lucide-react";
import { type ReactNode, useState } from "react";
import { request } from "../../api/client";
import { Button, ButtonLink } from "../../ui/button";
import { Confirm } from "../../ui/dialog";
import { Bar, ErrorNote, Note, Spinner, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { Ago, bytes, count } from "../../ui/text";
import { EvaluateAgain } from "./again";
import { Chart } from "./chart";
import type { Course } from "./course";
import { EvaluationOf } from "./evaluation";
import { useCourse } from "./follow";
import { moment, Status } from "./list";
import { duration } from "./measures";
import { said } from "./options";
import { DataReport, Figure, short } from "./preview";
import { Publish } from "./publish";
import { evaluation, forget, move, training, trainings, validation } from "./queries";
import { dataOf, isLive, type Job, methodOf, nameOf, optionsOf } from "./shapes";
import "./train.css";

export function RunPage() {
  const { id } = useParams({ from: "/train/$id" });
  const { data, error } = useQuery({
    ...training(id),
    refetchInterval: ({ state }) => (state.data && isLive(state.data) ? 2000 : false),
  });
  const above = (
    <nav aria-label="Where you are" className="crumbs">
      <Link to="/train">Train</Link>
      <ChevronRight size={14} aria-hidden />
    </nav>
  );
  if (!data) {
    return (
      <Page title="Run" above={above}>
        {error ? <ErrorNote error={error} /> : <Waiting lines={4} />}
      </Page>
    );
  }
  return <Run key={id} job={data} above={above} />;
}

function Run({ job, above }: { job: Job; above: ReactNode }) {
  const course = useCourse(job.id, isLive(job));
  const done = job.status === "succeeded";
  const results = useQuery({ ...evaluation(job.id), enabled: done });
  const data = useQuery({ ...validation(job.id), retry: false });
  return (
    <Page
      title={nameOf(job)}
      lead={
        <>
          {methodOf(job)} on {job.model}, from {dataOf(job)} · started <Ago at={moment(job.created_at)} />
        </>
      }
      above={above}
      actions={
        <>
          {done ? <Outcome job={job} report={!!results.data} /> : <Controls job={job} />}
          {!isLive(job) && job.status !== "paused" && <Forget job={job} />}
        </>
      }
    >
      <div className="stack-l">
        {job.error && <Note tone="bad">{job.error.message}</Note>}
        <Progress job={job} course={course} />
        {done && job.adapter_generation && <Publish base={job.model} generation={job.adapter_generation} />}
        {results.data && <EvaluationOf evaluation={results.data} />}
        <ErrorNote error={results.error} />
        {done && <EvaluateAgain job={job} />}
        <section className="card" aria-labelledby="curves">
          <div className="card-head">
            <h2 id="curves">Loss</h2>
            <span className="quiet small">
              How wrong it is about each token it should say. Held-out rows are not learnt: when their curve
              rises, it learns by heart.
            </span>
          </div>
          <div className="card-pad">
            <Curves course={course} />
          </div>
        </section>
        {data.data && (
          <details className="card fold">
            <summary className="fold-head">
              <h2>Data</h2>
              <span className="quiet small numbers">
                {count(data.data.train_rows)} rows learnt, {count(data.data.held_out_rows)} held out
                {data.data.bad_rows > 0 && `, ${count(data.data.bad_rows)} left out`}
              </span>
            </summary>
            <div className="card-pad">
              <DataReport validation={data.data} />
            </div>
          </details>
        )}
        <Settings job={job} />
        {course && <Log course={course} />}
      </div>
    </Page>
  );
}

function Curves({ course }: { course: Course | null }) {
  const steps = course?.steps ?? [];
  const last = steps.at(-1);
  return (
    <Chart
      label="Loss by step"
      {...(last ? { most: last.steps } : {})}
      series={[
        { name: "training", tone: 1, points: steps.map(({ step, loss }) => [step, loss]) },
        {
          name: "held out",
          tone: 2,
          marked: true,
          points: (course?.heldOut ?? []).map(({ step, loss }) => [step, loss]),
        },
      ]}
    />
  );
}

/** What can be done with a run that has not succeeded. */
function Controls({ job }: { job: Job }) {
  const client = useQueryClient();
  const [ending, setEnding] = useState(false);
  // A run stops after the step that it is in; until then it is still running.
  const [asked, setAsked] = useState<"pause" | "cancel" | null>(null);
  const act = useMutation({
    mutationFn: (to: "pause" | "resume" | "cancel") => move(job.id, to),
    onSuccess: (next, to) => {
      setAsked(to === "resume" ? null : to);
      client.setQueryData(training(job.id).queryKey, next);
      return client.invalidateQueries({ queryKey: ["trainings"] });
    },
  });
  const resumable = job.status === "paused" || job.status === "failed";
  const stopping = asked !== null && job.status === "running";
  return (
    <>
      {stopping && (
        <span className="row quiet small" role="status">
          <Spinner /> {asked === "pause" ? "Pausing after this step" : "Ending"}
        </span>
      )}
      {isLive(job) && (
        <Button disabled={act.isPending || stopping} onClick={() => act.mutate("pause")}>
          <Pause size={16} aria-hidden />
          Pause
        </Button>
      )}
      {resumable && (
        <Button look="primary" disabled={act.isPending} onClick={() => act.mutate("resume")}>
          <Play size={16} aria-hidden />
          {job.status === "failed" ? "Try again" : "Resume"}
        </Button>
      )}
      {(isLive(job) || job.status === "paused") && (
        <Button look="danger" disabled={act.isPending || asked === "cancel"} onClick={() => setEnding(true)}>
          Cancel the run
        </Button>
      )}
      <ErrorNote error={act.error} />
      <Confirm
        open={ending}
        onClose={() => setEnding(false)}
        title={`Cancel ${nameOf(job)}?`}
        action="Cancel the run"
        onConfirm={() => act.mutateAsync("cancel")}
      >
        What it has learnt so far becomes no adapter. To go on later, pause it instead.
      </Confirm>
    </>
  );
}

/** Deletes a run that has ended. */
function Forget({ job }: { job: Job }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  const gone = async () => {
    await forget(job.id);
    await client.invalidateQueries({ queryKey: trainings.queryKey, exact: true });
    await navigate({ to: "/train" });
  };
  return (
    <>
      <Button onClick={() => setAsking(true)}>
        <Trash2 size={16} aria-hidden />
        Delete
      </Button>
      <Confirm
        open={asking}
        onClose={() => setAsking(false)}
        title={`Delete ${nameOf(job)}?`}
        action="Delete the run"
        onConfirm={gone}
      >
        Its data, checkpoints and report go. Its adapter, if it has one, stays, and so does what the log says
        of it.
      </Confirm>
    </>
  );
}

/** Where to go with a run that has succeeded. */
function Outcome({ job, report }: { job: Job; report: boolean }) {
  const model = job.fine_tuned_model;
  const [base, name] = model?.split(":") ?? [];
  const open = useMutation({
    mutationFn: async () => {
      const page = await (await request(`/v1/fine_tuning/jobs/${encodeURIComponent(job.id)}/report`)).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(page);
      link.download = `${nameOf(job)}-report.html`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    },
  });
  return (
    <>
      {model && (
        <ButtonLink to="/chat" search={{ model }} look="primary">
          <MessageSquareText size={16} aria-hidden />
          Chat with it
        </ButtonLink>
      )}
      {report && (
        <Button disabled={open.isPending} onClick={() => open.mutate()}>
          <FileText size={16} aria-hidden />
          Download the report
        </Button>
      )}
      {base && name && (
        <ButtonLink to="/adapters/$base/$name" params={{ base, name }}>
          <Blocks size={16} aria-hidden />
          Adapter
        </ButtonLink>
      )}
      <ErrorNote error={open.error} />
    </>
  );
}

function Progress({ job, course }: { job: Job; course: Course | null }) {
  const last = course?.steps.at(-1);
  const held = course?.heldOut.at(-1);
  const live = isLive(job);
  const message = course?.events.filter(({ type }) => type === "message").at(-1)?.message;
  const peak = Math.max(0, ...(course?.steps ?? []).map(({ resident }) => resident));
  const waiting = job.status === "queued" ? "Waiting for its turn" : "Getting ready";
  return (
    <section className="card" aria-label="Progress">
      <div className="run-head">
        <div className="row row-wrap">
          <Status job={job} />
          <span className="quiet small">{live ? (message ?? waiting) : ended(job)}</span>
          {last && (
            <span className="push quiet small numbers">
              step {count(last.step)} of {count(last.steps)}
            </span>
          )}
        </div>
        {live && <Bar label="Steps" {...(last ? { value: last.step, max: last.steps } : {})} />}
      </div>
      <dl className="figures run-figures">
        <Figure label="Loss" value={last ? last.loss.toFixed(3) : "–"}>
          {last && `epoch ${last.epoch.toFixed(last.epoch < 1 ? 2 : 1)}`}
        </Figure>
        <Figure label="Held-out loss" value={held ? held.loss.toFixed(3) : "–"}>
          {held && `after step ${count(held.step)}`}
        </Figure>
        <Figure label="Speed" value={last ? Math.round(last.tokens_per_second).toString() : "–"}>
          tokens a second
        </Figure>
        <Figure label="Memory" value={last ? bytes(last.resident) : "–"}>
          {last && `${bytes(peak)} at most`}
        </Figure>
        {live && job.status === "running" ? (
          <Figure label="Time left" value={last ? duration(last.eta) : "–"}>
            {last && `${duration(last.seconds)} so far`}
          </Figure>
        ) : (
          <Figure label="Time" value={last ? duration(last.seconds) : "–"}>
            {job.trained_tokens ? `${short(job.trained_tokens)} tokens` : ""}
          </Figure>
        )}
      </dl>
    </section>
  );
}

function ended(job: Job): ReactNode {
  if (job.status === "paused") return "It goes on from its last checkpoint when you resume it.";
  if (!job.finished_at) return null;
  return (
    <>
      ended <Ago at={moment(job.finished_at)} />
    </>
  );
}

function Settings({ job }: { job: Job }) {
  const options = Object.entries(optionsOf(job));
  return (
    <details className="card fold">
      <summary className="fold-head">
        <h2>Settings</h2>
        <span className="quiet small">
          {job.metadata?.preset ? `${job.metadata.preset} preset, ` : ""}seed {job.seed}
        </span>
      </summary>
      <dl className="facts card-pad option-facts">
        {options.map(([name, value]) => (
          <div key={name} className="option-fact">
            <dt className="mono">{name}</dt>
            <dd className="numbers">{said(value)}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hour12: false });

function Log({ course }: { course: Course }) {
  const lines = course.events.filter(({ type }) => type !== "metrics");
  return (
    <section className="card" aria-labelledby="log">
      <div className="card-head">
        <h2 id="log">What happened</h2>
      </div>
      <ol className="run-log">
        {lines.map(({ id, created_at, level, message }) => (
          <li key={id} className="run-line" data-level={level}>
            <time className="quiet" dateTime={moment(created_at)}>
              {clock.format(created_at * 1000)}
            </time>
            <span>{message}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
