// What is known of a stored generation: what it learnt from, how it fits its base; and who uses a name.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, bytes, count, Hash, plural } from "../../ui/text";
import { CompatibilityReport, type Report } from "./report";

type Generation = Schemas["GenerationInfo"];

const CONSENT: Record<string, string> = {
  grant: "by a grant for training",
  operator: "by an administrator",
  own: "the owner’s own",
};

/** Where the rows came from, a line each. */
export function TrainedOn({ training }: { training: Generation["training"] }) {
  if (!training) return <span className="quiet">Uploaded; what it learnt from is not on record here.</span>;
  return (
    <div className="stack-s">
      <ul className="sources">
        {training.sources.map((source, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: sources are few, and never move
          <li key={at}>
            {source.datanet ? (
              <Link to="/datanets/$name" params={{ name: source.datanet }}>
                {source.datanet}
              </Link>
            ) : source.file ? (
              <>
                a file <Hash value={source.file} label="hash of the file" />
              </>
            ) : (
              "unknown rows"
            )}{" "}
            <span className="quiet">({CONSENT[source.consent] ?? source.consent})</span>
          </li>
        ))}
      </ul>
      <span className="quiet small">
        {plural(training.learnt, "row")} learnt, {count(training.held_out)} held out ·{" "}
        <Link to="/train/$id" params={{ id: training.job }}>
          the run
        </Link>{" "}
        · entry {training.log_index} of the log
      </span>
    </div>
  );
}

/** The same in a few words, for a row of a table. */
export function TrainedBriefly({ training }: { training: Generation["training"] }) {
  if (!training) return <span className="quiet">uploaded</span>;
  const names = training.sources.map(({ datanet }) => datanet ?? "a file");
  return (
    <Link to="/train/$id" params={{ id: training.job }}>
      {[...new Set(names)].join(", ")}
    </Link>
  );
}

/** A button that opens the report of a generation's upload. */
export function ReportButton({ generation, label }: { generation: Generation; label?: string }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button
        small
        aria-label={label ?? `How it fits: ${generation.generation.slice(0, 8)}`}
        onClick={() => setOpen(true)}
      >
        How it fits
      </Button>
      <Dialog
        wide
        open={open}
        onClose={() => setOpen(false)}
        title="How it fits its base"
        description={`Generation ${generation.generation.slice(0, 12)}, as it was checked when it was stored.`}
      >
        <CompatibilityReport report={generation.report as unknown as Report} />
      </Dialog>
    </>
  );
}

/** The facts of the generation that a name means. */
export function InUse({ generation }: { generation: Generation }) {
  return (
    <section className="card card-pad stack" aria-label="The generation in use">
      <div className="row row-wrap">
        <h2>The generation in use</h2>
        <span className="push">
          <ReportButton generation={generation} label="How it fits its base" />
        </span>
      </div>
      <dl className="facts">
        <dt>Trained on</dt>
        <dd>
          <TrainedOn training={generation.training} />
        </dd>
        <dt>Stored</dt>
        <dd>
          <Ago at={generation.created_at} /> by {generation.created_by}
        </dd>
        <dt>Weights</dt>
        <dd className="numbers">{bytes(generation.bytes)}</dd>
      </dl>
    </section>
  );
}

/** Who had answers of a name, and of which generation. */
export function Users({ base, name, current }: { base: string; name: string; current: string }) {
  const { data, error } = useQuery({
    queryKey: ["adapters", base, name, "uses"],
    queryFn: async () =>
      body(await api.GET("/v1/adapters/{base}/{name}/uses", { params: { path: { base, name } } })).data,
    refetchInterval: 15_000,
  });
  return (
    <section className="stack-s" aria-labelledby="users">
      <h2 id="users">Who uses it</h2>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={2} />}
      {data && (
        <TableCard label="Who uses it">
          {data.length === 0 ? (
            <Empty title="Nobody has asked it yet">Answers are counted here by who asked.</Empty>
          ) : (
            <table className="table">
              <TableHead columns={["Subject", "Generation", { number: "Answers" }, "Last"]} />
              <tbody>
                {data.map((use) => (
                  <tr key={`${use.subject} ${use.generation}`}>
                    <td>{use.subject}</td>
                    <td>
                      <Hash value={use.generation} label="generation" />{" "}
                      {use.generation === current && <span className="quiet small">in use</span>}
                    </td>
                    <td className="number">{count(use.answers)}</td>
                    <td className="quiet">
                      <Ago at={use.last_at} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </TableCard>
      )}
    </section>
  );
}
