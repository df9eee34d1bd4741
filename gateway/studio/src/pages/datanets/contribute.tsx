// Adding a file to a datanet: chosen or dropped, looked at, sent, and followed until it is in.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { FileUp } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, request, type Schemas, upload } from "../../api/client";
import { ended, useJob } from "../../api/follow-job";
import { jobs } from "../../api/queries";
import { Button, ButtonLink } from "../../ui/button";
import { Drop } from "../../ui/drop";
import { Badge, Bar, ErrorNote, Note, Spinner } from "../../ui/feedback";
import { SelectField, TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { Ago, bytes, count, plural } from "../../ui/text";
import { parseCsv } from "./csv";
import { asItIs, FIELDS, guess, type Mapping, rewritten } from "./mapping";
import { type Format, formatOf, HEAD, Preview } from "./preview";

type Job = Schemas["Job"];

const FORMATS: [Format, string][] = [
  ["jsonl", "JSON lines"],
  ["csv", "CSV with a header row"],
  ["markdown", "Markdown"],
  ["text", "Plain text"],
  ["dictd", "dictd dictionary (.index and .dict or .dict.dz)"],
];

export function Contribute({ datanet, governs }: { datanet: Schemas["Datanet"]; governs: boolean }) {
  const client = useQueryClient();
  const { data: known } = useQuery(jobs);
  const [started, setStarted] = useState<Job | null>(null);
  const mine = (known ?? []).filter((job) => job.target === datanet.name && job.kind === "ingest");
  const [files, setFiles] = useState<File[]>([]);
  const [format, setFormat] = useState<Format>("jsonl");
  const [contributor, setContributor] = useState("");
  const [source, setSource] = useState("");
  const [licence, setLicence] = useState("");
  const [day, setDay] = useState("");
  const [header, setHeader] = useState<string[]>([]);
  const [mapping, setMapping] = useState<Mapping>({});
  const take = async (next: File[]) => {
    const named = formatOf(next);
    const [columns = []] = named === "csv" ? parseCsv((await next[0]?.slice(0, HEAD).text()) ?? "") : [];
    setHeader(columns);
    setMapping(guess(columns));
    if (named) setFormat(named);
    setFiles(next);
  };
  const send = useMutation({
    mutationFn: async () => {
      const rewrite = format === "csv" && !asItIs(mapping, header);
      const query = new URLSearchParams({ format: rewrite ? "jsonl" : format });
      for (const [name, value] of Object.entries({ contributor, source, licence, contributed_at: day })) {
        if (value.trim()) query.set(name, value.trim());
      }
      const sent = files.map(async (file) =>
        rewrite
          ? { name: `${file.name}.jsonl`, content: new Blob([rewritten(await file.text(), mapping)]) }
          : { name: file.name, content: file },
      );
      const form = upload(await Promise.all(sent));
      const path = `/v1/datanets/${encodeURIComponent(datanet.name)}/${governs ? "ingest" : "contributions"}?${query}`;
      const made = await (await request(path, { method: "POST", body: form })).json();
      return governs ? (made as Job) : null;
    },
    onSuccess: async (job) => {
      setStarted(job);
      setFiles([]);
      await client.invalidateQueries({ queryKey: ["contributions", datanet.name] });
      return client.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    send.mutate();
  };
  // A job that runs already, perhaps started in another tab, is taken up here.
  const running = started ?? mine.find((job) => !ended(job)) ?? null;
  return (
    <div className="stack-l">
      <form className="stack" onSubmit={submit}>
        {!governs && (
          <Note>
            Your file is checked at once. By the terms it is then taken, or {datanet.owner} looks at it first
            and tells you why, if not.
          </Note>
        )}
        <Drop
          label="Choose a file, or drop it here"
          hint="JSON lines, CSV, Markdown, plain text, or a dictd dictionary. All of it is checked before any of it is added."
          accept=".jsonl,.ndjson,.csv,.md,.markdown,.txt,.index,.dict,.dz"
          multiple
          onFiles={take}
        />
        {files.length > 0 && (
          <>
            <div className="card card-pad stack">
              <div className="row row-wrap">
                <FileUp size={16} aria-hidden />
                {files.map((file) => (
                  <span key={file.name}>
                    <strong>{file.name}</strong> <span className="quiet numbers">{bytes(file.size)}</span>
                  </span>
                ))}
              </div>
              <div className="fields">
                <SelectField
                  label="Format"
                  value={format}
                  onChange={(event) => setFormat(event.target.value as Format)}
                >
                  {FORMATS.map(([value, text]) => (
                    <option key={value} value={value}>
                      {text}
                    </option>
                  ))}
                </SelectField>
                <TextField
                  label="Contributor"
                  placeholder="Ada Lovelace"
                  hint="Of datapoints that name none."
                  value={contributor}
                  onChange={(event) => setContributor(event.target.value)}
                />
                <TextField
                  label="Licence"
                  placeholder={datanet.licence || "CC-BY-4.0"}
                  hint="Of datapoints that name none; else the datanet’s."
                  value={licence}
                  onChange={(event) => setLicence(event.target.value)}
                />
                <TextField
                  label="Source"
                  placeholder="https://example.org/handbook"
                  value={source}
                  onChange={(event) => setSource(event.target.value)}
                />
                <TextField
                  label="Contributed on"
                  type="date"
                  hint="Of datapoints without a date; else today."
                  value={day}
                  onChange={(event) => setDay(event.target.value)}
                />
              </div>
              {format === "csv" && header.length > 0 && (
                <Columns header={header} mapping={mapping} onChange={setMapping} />
              )}
              <Preview files={files} format={format} mapping={mapping} />
            </div>
            <ErrorNote error={send.error} />
            <div className="row">
              <Button
                type="submit"
                look="primary"
                disabled={send.isPending || (format === "csv" && !mapping.text)}
              >
                {send.isPending && <Spinner />}
                Add to {datanet.name}
              </Button>
              <Button onClick={() => setFiles([])}>Choose another file</Button>
            </div>
          </>
        )}
      </form>
      {running && <Followed key={running.id} first={running} datanet={datanet.name} />}
      <Past jobs={mine.filter((job) => ended(job) && job.id !== running?.id)} />
    </div>
  );
}

const NAMES: Record<(typeof FIELDS)[number], string> = {
  text: "Text",
  id: "Id",
  contributor: "Contributor",
  contributed_at: "Date",
  source: "Source",
  licence: "Licence",
};

/** Which column is which; the others become metadata. */
function Columns({
  header,
  mapping,
  onChange,
}: {
  header: string[];
  mapping: Mapping;
  onChange: (mapping: Mapping) => void;
}) {
  return (
    <section className="stack-s" aria-label="Columns">
      <h3>Columns</h3>
      <div className="columns">
        {FIELDS.map((field) => (
          <SelectField
            key={field}
            label={NAMES[field]}
            value={mapping[field] ?? ""}
            onChange={(event) => {
              const { [field]: _, ...rest } = mapping;
              onChange(event.target.value ? { ...rest, [field]: event.target.value } : rest);
            }}
          >
            <option value="">{field === "text" ? "Choose a column" : "None"}</option>
            {header.map((column) => (
              <option key={column} value={column}>
                {column}
              </option>
            ))}
          </SelectField>
        ))}
      </div>
      <p className="quiet small">Columns that are named nowhere here become metadata.</p>
    </section>
  );
}

/** A job, live. */
function Followed({ first, datanet }: { first: Job; datanet: string }) {
  const client = useQueryClient();
  const job = useJob(first, () => client.invalidateQueries({ queryKey: ["datanets"] })) ?? first;
  const [error, setError] = useState<unknown>();
  const cancel = () =>
    api
      .DELETE("/v1/jobs/{id}", { params: { path: { id: job.id } } })
      .then(body)
      .catch(setError);
  return (
    <section className="card card-pad stack" aria-label="Progress" aria-live="polite">
      <div className="row row-wrap">
        <h2>
          {job.state === "succeeded"
            ? "Added"
            : job.state === "failed"
              ? "Not added"
              : job.state === "cancelled"
                ? "Cancelled"
                : "Adding"}
        </h2>
        <State state={job.state} />
        {!ended(job) && (
          <Button small className="push" onClick={cancel}>
            Cancel
          </Button>
        )}
      </div>
      {!ended(job) && (
        <>
          <Bar label="Progress" {...(job.total > 0 ? { value: job.done, max: job.total } : {})} />
          <p className="quiet small numbers">
            {job.stage}
            {job.total > 0 && ` · ${count(job.done)} of ${count(job.total)}`} · goes on if you leave this page
          </p>
        </>
      )}
      <ErrorNote error={job.error ?? error} />
      {job.state === "succeeded" && (
        <>
          <Outcome result={job.result as Result | null} />
          <div className="row">
            <ButtonLink to="/chat" search={{ datanet }} look="primary">
              Ask it something
            </ButtonLink>
            <ButtonLink to="/datanets/$name" params={{ name: datanet }} search={{ tab: "browse" }}>
              Browse
            </ButtonLink>
          </div>
        </>
      )}
    </section>
  );
}

/** What an ingest reports once it has succeeded. */
interface Result {
  read: number;
  added: number;
  skipped_duplicates: number;
}

function Outcome({ result }: { result: Result | null }) {
  if (!result) return null;
  return (
    <p>
      {plural(result.added, "datapoint")} added of {count(result.read)} read
      {result.skipped_duplicates > 0 && `; ${plural(result.skipped_duplicates, "duplicate")} left out`}.
    </p>
  );
}

export function State({ state }: { state: Job["state"] }) {
  const tone =
    state === "succeeded" ? "good" : state === "failed" ? "bad" : state === "cancelled" ? "plain" : "warn";
  return (
    <Badge tone={tone} dot>
      {state}
    </Badge>
  );
}

function Past({ jobs: past }: { jobs: Job[] }) {
  if (past.length === 0) return null;
  return (
    <section className="stack-s">
      <h2>Earlier</h2>
      <TableCard label="Earlier additions">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">State</th>
              <th scope="col">Outcome</th>
              <th scope="col">By</th>
              <th scope="col">When</th>
            </tr>
          </thead>
          <tbody>
            {past.map((job) => (
              <tr key={job.id}>
                <td>
                  <State state={job.state} />
                </td>
                <td>{job.error ?? `${count((job.result as Result | null)?.added ?? 0)} added`}</td>
                <td>{job.owner}</td>
                <td className="quiet">
                  <Ago at={job.created_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableCard>
    </section>
  );
}
