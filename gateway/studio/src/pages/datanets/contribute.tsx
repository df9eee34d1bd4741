// Adding a file to a datanet: chosen or dropped, looked at, sent, and followed until it is in.
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { FileUp } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { ended, useJob } from "../../api/follow-job";
import { contributionsTo, jobs } from "../../api/queries";
import { Button, ButtonLink } from "../../ui/button";
import { Drop } from "../../ui/drop";
import { Badge, Bar, ErrorNote, Note, Spinner } from "../../ui/feedback";
import { Checkbox, SelectField, TextField } from "../../ui/field";
import { More } from "../../ui/more";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, bytes, count, moment, plural } from "../../ui/text";
import { asParameter, FIELDS, guess, type Mapping } from "./mapping";
import { type Format, formatOf, Near, Preview, Rejected, send as sendFiles, useExamination } from "./preview";

type Job = Schemas["Job"];

const FORMATS: [Format, string][] = [
  ["jsonl", "JSON lines"],
  ["csv", "CSV with a header row"],
  ["parquet", "Parquet"],
  ["markdown", "Markdown"],
  ["text", "Plain text"],
  ["html", "Web page (HTML)"],
  ["docx", "Word document (.docx)"],
  ["pdf", "PDF with text in it"],
  ["dictd", "dictd dictionary (.index and .dict or .dict.dz)"],
];

export function Contribute({ datanet, governs }: { datanet: Schemas["Datanet"]; governs: boolean }) {
  const client = useQueryClient();
  const list = useInfiniteQuery(jobs);
  const known = list.data;
  const [started, setStarted] = useState<Job | null>(null);
  const mine = (known ?? []).filter((job) => job.target === datanet.name && job.kind === "ingest");
  const [files, setFiles] = useState<File[]>([]);
  const [format, setFormat] = useState<Format>("jsonl");
  const [contributor, setContributor] = useState("");
  const [source, setSource] = useState("");
  const [licence, setLicence] = useState("");
  const [day, setDay] = useState("");
  const [chosen, setChosen] = useState<Mapping>();
  const [passage, setPassage] = useState("");
  const [overlap, setOverlap] = useState("");
  const [near, setNear] = useState<Schemas["NearDuplicates"]>("report");
  const [keepGood, setKeepGood] = useState(false);
  const [note, setNote] = useState("");
  const [supersedes, setSupersedes] = useState("");
  const [offered, setOffered] = useState<Schemas["Contribution"] | null>(null);
  const { data: earlier = [] } = useInfiniteQuery({ ...contributionsTo(datanet.name), enabled: !governs });
  const take = (next: File[]) => {
    const named = formatOf(next);
    if (named) setFormat(named);
    setChosen(undefined);
    setKeepGood(false);
    setOffered(null);
    setFiles(next);
  };
  const query = (mapping: Mapping | undefined) => {
    const given = {
      contributor,
      source,
      licence,
      contributed_at: day,
      columns: TABLES.includes(format) ? (asParameter(mapping ?? {}) ?? "") : "",
      passage_characters: PROSE.includes(format) ? passage : "",
      passage_overlap: PROSE.includes(format) ? overlap : "",
    };
    const said = Object.entries(given).filter(([, value]) => value.trim());
    return new URLSearchParams([["format", format], ...said.map(([name, value]) => [name, value.trim()])]);
  };
  // Who adds to their own datanet decides on repetitions; for others its terms do.
  const examine = query(chosen);
  if (governs) examine.set("near_duplicates", near);
  const found = useExamination(datanet.name, files, examine);
  const columns = TABLES.includes(format) ? (found.data?.columns ?? []) : [];
  const mapping = chosen ?? guess(columns);
  // The first look at a table says what its columns are; from then on they are taken as guessed.
  if (!chosen && !found.isPlaceholderData && asParameter(mapping)) setChosen(mapping);
  const send = useMutation({
    mutationFn: async () => {
      const said = query(mapping);
      if (governs) {
        said.set("near_duplicates", near);
        if (keepGood) said.set("keep_good", "true");
      } else {
        if (note.trim()) said.set("note", note.trim());
        if (supersedes) said.set("supersedes", supersedes);
      }
      const path = `/v1/datanets/${encodeURIComponent(datanet.name)}/${governs ? "ingest" : "contributions"}`;
      return sendFiles(path, files, said);
    },
    onSuccess: async (made) => {
      if (governs) setStarted(made as Job);
      else setOffered(made as Schemas["Contribution"]);
      setFiles([]);
      setNote("");
      setSupersedes("");
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
          hint="PDF, Word, HTML, Markdown, plain text, CSV, JSON lines, Parquet, or a dictd dictionary. All of it is checked before any of it is added."
          accept=".jsonl,.ndjson,.csv,.parquet,.md,.markdown,.txt,.html,.htm,.docx,.pdf,.index,.dict,.dz"
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
                  onChange={(event) => {
                    setChosen(undefined);
                    setFormat(event.target.value as Format);
                  }}
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
                {governs && (
                  <SelectField
                    label="Near-duplicates"
                    hint="Of the file itself, or of what is there."
                    value={near}
                    onChange={(event) => setNear(event.target.value as Schemas["NearDuplicates"])}
                  >
                    <option value="report">Name them</option>
                    <option value="refuse">Leave them out</option>
                    <option value="ignore">Do not look for them</option>
                  </SelectField>
                )}
              </div>
              {columns.length > 0 && <Columns header={columns} mapping={mapping} onChange={setChosen} />}
              {PROSE.includes(format) && (
                <div className="fields">
                  <TextField
                    label="Longest passage"
                    type="number"
                    min={100}
                    max={4000}
                    placeholder="900"
                    hint="Characters. It is cut at headings, paragraphs and sentences."
                    value={passage}
                    onChange={(event) => setPassage(event.target.value)}
                  />
                  <TextField
                    label="Overlap"
                    type="number"
                    min={0}
                    placeholder="0"
                    hint="Characters that a passage repeats of the one before."
                    value={overlap}
                    onChange={(event) => setOverlap(event.target.value)}
                  />
                </div>
              )}
              {!governs && (
                <div className="fields">
                  <TextField
                    label="A word to its owner"
                    hint="What is in the file, and where it is from."
                    value={note}
                    onChange={(event) => setNote(event.target.value)}
                  />
                  {earlier.length > 0 && (
                    <SelectField
                      label="A new version of"
                      hint="What was accepted never changes; a new version names the one before."
                      value={supersedes}
                      onChange={(event) => setSupersedes(event.target.value)}
                    >
                      <option value="">nothing that I sent before</option>
                      {earlier.map((one) => (
                        <option key={one.id} value={one.id}>
                          {one.filename}, {one.state}, {moment(one.created_at)}
                        </option>
                      ))}
                    </SelectField>
                  )}
                </div>
              )}
              <Preview found={found} />
              {governs && (found.data?.rejected_total ?? 0) > 0 && (
                <Checkbox checked={keepGood} onChange={setKeepGood}>
                  Add the others all the same
                </Checkbox>
              )}
            </div>
            <ErrorNote error={send.error} />
            <div className="row">
              <Button type="submit" look="primary" disabled={send.isPending}>
                {send.isPending && <Spinner />}
                {governs ? `Add to ${datanet.name}` : `Offer to ${datanet.name}`}
              </Button>
              <Button onClick={() => setFiles([])}>Choose another file</Button>
            </div>
          </>
        )}
      </form>
      {offered && <Offered offer={offered} owner={datanet.owner} />}
      {running && <Followed key={running.id} first={running} datanet={datanet.name} />}
      <Past jobs={mine.filter((job) => ended(job) && job.id !== running?.id)} />
      <More list={list} of="jobs" />
    </div>
  );
}

/** What became of an offer at once. */
function Offered({ offer, owner }: { offer: Schemas["Contribution"]; owner: string }) {
  return (
    <div role="status">
      <Note tone={offer.state === "rejected" || offer.state === "failed" ? "warn" : "good"}>
        {offer.state === "waiting"
          ? `Sent. ${owner} looks at ${offer.filename} next; you see below what becomes of it, and can take it back until then.`
          : offer.state === "rejected" || offer.state === "failed"
            ? `${offer.filename} was not taken: ${offer.reason ?? "no reason was given"}.`
            : `Sent, and taken by the terms: the datapoints of ${offer.filename} are being added. You see below when they are in.`}
      </Note>
    </div>
  );
}

const TABLES: Format[] = ["csv", "parquet"];
const PROSE: Format[] = ["markdown", "text", "html", "docx", "pdf"];

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
  rejected_total: number;
  rejected?: Schemas["Rejection"][];
  near_duplicates: Schemas["NearDuplicate"][];
  near_duplicates_total: number;
}

function Outcome({ result }: { result: Result | null }) {
  if (!result) return null;
  return (
    <>
      <p>
        {plural(result.added, "datapoint")} added of {count(result.read)} read
        {result.skipped_duplicates > 0 && `; ${plural(result.skipped_duplicates, "duplicate")} left out`}
        {result.rejected_total > 0 && `; ${count(result.rejected_total)} to mend left out`}.
      </p>
      {result.rejected_total > 0 && result.rejected && (
        <Rejected rows={result.rejected} total={result.rejected_total} />
      )}
      <Near duplicates={result.near_duplicates ?? []} total={result.near_duplicates_total ?? 0} />
    </>
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
          <TableHead columns={["State", "Outcome", "By", "When"]} />
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
