// Where one arrives: ask a question at once, the steps that lead to a cited answer, and what is running.
import { useInfiniteQuery, useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { ArrowUp, Check } from "lucide-react";
import { type FormEvent, type ReactNode, useState } from "react";
import type { Schemas } from "../../api/client";
import { adapters, checkpoint, datanets, jobs, models } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button, ButtonLink, IconButton } from "../../ui/button";
import { Badge, Bar, Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { Ago, bytes, count, Hash, plural } from "../../ui/text";
import { currentSettings, keepSettings, useThreads } from "../chat/store";
import { trainings } from "../train/queries";
import { isLive, nameOf, type Job as Run, type Step as TrainingStep } from "../train/shapes";
import "./home.css";
import { TableHead } from "../../ui/table";

export function Home() {
  const caller = useCaller();
  return (
    <Page title="Home" lead="Ask a question, and see which sources the answer rests on.">
      <div className="stack-l">
        {caller?.may("applications") && (
          <>
            <Ask />
            <FirstSteps />
          </>
        )}
        <Running />
      </div>
    </Page>
  );
}

/** The shortest way to a cited answer. */
function Ask() {
  const navigate = useNavigate();
  const [question, setQuestion] = useState("");
  const nets = useQuery(datanets);
  const known = useQuery(models);
  const ask = (event: FormEvent) => {
    event.preventDefault();
    if (question.trim()) navigate({ to: "/chat", search: { ask: question.trim() } });
  };
  return (
    <form className="ask card" onSubmit={ask}>
      <label className="hidden-visually" htmlFor="ask">
        Your question
      </label>
      <input
        id="ask"
        className="ask-input"
        placeholder="What would you like to know?"
        autoComplete="off"
        value={question}
        onChange={(event) => setQuestion(event.target.value)}
      />
      <div className="row">
        {nets.data && known.data && <Cites models={known.data} datanets={nets.data} />}
        <IconButton label="Ask" look="primary" type="submit" className="push" disabled={!question.trim()}>
          <ArrowUp size={17} />
        </IconButton>
      </div>
    </form>
  );
}

/** What the answer will draw on: what is chosen in chat, which need not be all. */
function Cites({ models, datanets }: { models: Schemas["Model"][]; datanets: Schemas["Datanet"][] }) {
  // Choosing is kept outside React; this draws it anew.
  const [, setChosen] = useState(0);
  const how = currentSettings(models, datanets);
  const filled = datanets.filter((datanet) => datanet.snapshot.size > 0);
  const chosen = filled.filter(({ name }) => how.datanets.includes(name));
  const size = chosen.reduce((sum, datanet) => sum + datanet.snapshot.size, 0);
  const all = () => {
    keepSettings({ ...how, datanets: filled.map(({ name }) => name) });
    setChosen((n) => n + 1);
  };
  if (filled.length === 0) {
    return (
      <span className="quiet small">You have no datanet with datapoints yet, so answers cite nothing.</span>
    );
  }
  return (
    <span className="quiet small row row-wrap">
      {chosen.length === 0
        ? "No datanet is chosen in chat, so the answer would cite nothing."
        : `The answer may cite ${
            chosen.length <= 2
              ? chosen.map(({ title, name }) => title || name).join(" and ")
              : plural(chosen.length, "datanet")
          }, ${plural(size, "datapoint")}.`}
      {chosen.length < filled.length && (
        <Button small look="quiet" onClick={all}>
          {filled.length === 1 ? `Use ${filled[0]?.title || filled[0]?.name}` : `Use all ${filled.length}`}
        </Button>
      )}
    </span>
  );
}

interface Step {
  title: string;
  text: ReactNode;
  done: boolean;
  action?: ReactNode;
}

/** Steps that are ticked by what the gateway holds; they leave once all are done. */
function FirstSteps() {
  const caller = useCaller();
  const navigate = useNavigate();
  const known = useQuery(models);
  const nets = useQuery(datanets);
  const threads = useThreads();
  const trains = caller?.may("trainers") ?? false;
  const runs = useQuery({ ...trainings, enabled: trains });
  if (!known.data || !nets.data) return null;
  const chat = known.data.filter((model) => model.kind === "chat");
  const filled = nets.data.filter((datanet) => datanet.snapshot.size > 0);
  // One that was made and not filled yet is where to go on.
  const empty = nets.data.find((datanet) => datanet.owner === caller?.subject);
  const answered = threads.flatMap((thread) => thread.turns).flatMap((turn) => turn.answers);
  const cited = answered.some((answer) => answer.attribution?.datapoints.length);
  const last = threads.find(({ turns }) =>
    turns.some(({ answers }) => answers.some((answer) => answer.attribution?.datapoints.length)),
  );
  const verified = answered.some((answer) => answer.verified);
  const steps: Step[] = [
    {
      title: "A model to answer",
      done: chat.length > 0,
      text: chat[0]
        ? `${chat[0].id} is ${chat.some((model) => model.status === "loaded") ? "loaded" : "here; the first question loads it"}.`
        : "No chat model is here yet. Fetch one with “cairn pull” on the gateway’s machine.",
    },
    {
      title: "A datanet to cite",
      done: filled.length > 0,
      text: filled[0]
        ? `${filled[0].title || filled[0].name} has ${plural(filled[0].snapshot.size, "datapoint")}.`
        : caller?.may("stewards")
          ? "Create a datanet and add a file: its passages become citable at once."
          : "Ask for one of those whose terms are published; then it appears here.",
      action: caller?.may("stewards") ? (
        empty ? (
          <ButtonLink to="/datanets/$name" params={{ name: empty.name }} search={{ tab: "add" }} small>
            Add a file to {empty.title || empty.name}
          </ButtonLink>
        ) : (
          <ButtonLink to="/datanets" search={{ create: true }} small>
            Create a datanet
          </ButtonLink>
        )
      ) : (
        <ButtonLink to="/datanets" small>
          See which there are
        </ButtonLink>
      ),
    },
    {
      title: "A cited answer",
      done: cited,
      text: "Ask something your datanets know. Numbers in the answer are its sources.",
      action: filled.length > 0 && chat.length > 0 && (
        <Button small onClick={() => navigate({ to: "/chat", search: {} })}>
          Open chat
        </Button>
      ),
    },
    {
      title: "A proof you checked yourself",
      done: verified,
      text: "Choose a number in an answer, then Verify: your browser recomputes every hash and signature.",
      action: last && (
        <ButtonLink to="/chat" search={{ thread: last.id }} small>
          Open the answer
        </ButtonLink>
      ),
    },
  ];
  if (trains) {
    steps.push({
      title: "An adapter of your own",
      done: runs.data?.some(({ status }) => status === "succeeded") ?? false,
      text: "Teach the model from a datanet or a few dozen examples; it answers as soon as it is trained.",
      action: chat.length > 0 && (
        <ButtonLink to="/train/new" small>
          Train one
        </ButtonLink>
      ),
    });
  }
  // Whether it has been trained is not known yet: better nothing than a step that vanishes.
  if (trains && !runs.data && !runs.error) return null;
  if (steps.every((step) => step.done)) return null;
  const next = steps.findIndex((step) => !step.done);
  return (
    <section aria-labelledby="first-steps">
      <h2 id="first-steps" className="section-title">
        First steps
      </h2>
      <ol className="steps card">
        {steps.map((step, index) => (
          <li
            key={step.title}
            className="step"
            data-done={step.done || undefined}
            data-next={index === next || undefined}
          >
            <span className="step-mark" aria-hidden>
              {step.done ? <Check size={13} strokeWidth={3} /> : index + 1}
            </span>
            <div>
              <h3>
                {step.title}
                <span className="hidden-visually">{step.done ? " (done)" : ""}</span>
              </h3>
              <p className="quiet">{step.text}</p>
            </div>
            {index === next && step.action}
          </li>
        ))}
      </ol>
    </section>
  );
}

function Running() {
  const known = useQuery({ ...models, refetchInterval: 10_000 });
  const nets = useQuery(datanets);
  const chat = (known.data ?? []).filter((model) => model.kind === "chat");
  const aliases = useQueries({ queries: chat.map((model) => adapters(model.id)) });
  const log = useQuery({ ...checkpoint, refetchInterval: 10_000 });
  const work = useInfiniteQuery({ ...jobs, refetchInterval: 5_000 });
  const caller = useCaller();
  const runs = useQuery({
    ...trainings,
    enabled: caller?.may("trainers") ?? false,
    refetchInterval: 5_000,
  });
  const training = (runs.data ?? []).filter(isLive);
  const busy = (work.data ?? []).filter((job) => job.state === "running" || job.state === "queued");
  const loaded = (known.data ?? []).filter((model) => model.status === "loaded");
  const size = (nets.data ?? []).reduce((sum, datanet) => sum + datanet.snapshot.size, 0);
  return (
    <section aria-labelledby="running" className="stack">
      <h2 id="running" className="section-title">
        Running now
      </h2>
      <dl className="figures card">
        <Figure label="Models loaded" value={known.data && `${loaded.length} of ${known.data.length}`}>
          {bytes(loaded.reduce((sum, model) => sum + model.memory_bytes, 0))}
        </Figure>
        <Figure
          label="Adapters"
          value={known.data && count(aliases.reduce((sum, { data }) => sum + (data?.length ?? 0), 0))}
        >
          on {plural(chat.length, "base")}
        </Figure>
        <Figure label="Datanets" value={nets.data && count(nets.data.length)}>
          {plural(size, "datapoint")}
        </Figure>
        <Figure label="Jobs" value={work.data && count(busy.length + training.length)}>
          {work.data?.[0] ? (
            <>
              last <Ago at={work.data[0].updated_at} />
            </>
          ) : (
            "none yet"
          )}
        </Figure>
        <Figure label="Log entries" value={log.data && count(log.data.size)}>
          {log.data && <Hash value={log.data.root} label="root hash" digits={8} />}
        </Figure>
      </dl>
      <ErrorNote error={known.error ?? nets.error ?? work.error ?? log.error} />
      {training.length > 0 && <Runs runs={training} />}
      {busy.length > 0 && <Jobs jobs={busy} />}
      <Datanets datanets={nets.data} />
    </section>
  );
}

function Figure({
  label,
  value,
  children,
}: {
  label: string;
  value: string | undefined;
  children: ReactNode;
}) {
  return (
    <div className="figure">
      <dt>{label}</dt>
      <dd className="figure-value numbers">{value ?? "–"}</dd>
      <dd className="figure-more numbers">{value === undefined ? "" : children}</dd>
    </div>
  );
}

function Runs({ runs }: { runs: Run[] }) {
  return (
    <ul className="card job-list">
      {runs.map((run) => {
        const step = run.progress as unknown as TrainingStep | null | undefined;
        return (
          <li key={run.id} className="job-line">
            <div className="row">
              <Link to="/train/$id" params={{ id: run.id }} className="table-link">
                training {nameOf(run)}
              </Link>
              <span className="push quiet small numbers">
                {step ? `step ${count(step.step)} of ${count(step.steps)}` : run.status}
              </span>
            </div>
            <Bar label={`training ${nameOf(run)}`} {...(step ? { value: step.step, max: step.steps } : {})} />
          </li>
        );
      })}
    </ul>
  );
}

function Jobs({ jobs: running }: { jobs: Schemas["Job"][] }) {
  return (
    <ul className="card job-list">
      {running.map((job) => (
        <li key={job.id} className="job-line">
          <div className="row">
            <strong>
              {job.kind} into {job.target}
            </strong>
            <span className="push quiet small numbers">
              {job.stage} {job.total > 0 && `${count(job.done)} of ${count(job.total)}`}
            </span>
          </div>
          <Bar
            label={`${job.kind} ${job.target}`}
            {...(job.total > 0 ? { value: job.done, max: job.total } : {})}
          />
        </li>
      ))}
    </ul>
  );
}

function Datanets({ datanets: listed }: { datanets: Schemas["Datanet"][] | undefined }) {
  if (!listed) return <Waiting />;
  if (listed.length === 0) {
    return (
      <div className="card">
        <Empty title="No datanets yet">
          A datanet is a collection of passages that answers may cite, with terms on who may use it.
        </Empty>
      </div>
    );
  }
  return (
    <TableCard label="Datanets">
      <table className="table">
        <TableHead columns={["Datanet", "Licence", { number: "Datapoints" }, "Access"]} />
        <tbody>
          {listed.map((datanet) => (
            <tr key={datanet.name}>
              <td>
                <Link to="/datanets/$name" params={{ name: datanet.name }} className="table-link">
                  {datanet.title || datanet.name}
                </Link>
                <div className="quiet small mono">{datanet.name}</div>
              </td>
              <td>{datanet.licence || <span className="quiet">none named</span>}</td>
              <td className="number">{count(datanet.snapshot.size)}</td>
              <td>
                <Badge>{datanet.visibility}</Badge>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableCard>
  );
}
