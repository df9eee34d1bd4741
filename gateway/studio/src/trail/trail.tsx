// The trail from a citation to where it came from: what the answer says, what the datapoint says, who contributed it,
// why it was retrieved, and where the record of it all stands in the log.
import { useQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight, Download, ShieldCheck, X } from "lucide-react";
import { type ReactNode, useMemo, useState } from "react";
import type { Schemas } from "../api/client";
import { influence as influenceOf, proofOf, attribution as recordOf } from "../api/queries";
import { Button, IconButton } from "../ui/button";
import { ErrorNote, Waiting } from "../ui/feedback";
import { date } from "../ui/text";
import { type Bundle, parseBundle, VerifySteps } from "../verify";
import { Influence } from "./influence";
import { save, titleOf } from "./names";
import { Original, PLACE } from "./original";
import { Candidates, Scores } from "./scores";
import { Standing } from "./standing";
import { Trust } from "./trust";
import { useTrustedKey } from "./trusted-key";
import { matching, repeated, type Span } from "./used";
import "./trail.css";

type Passage = Schemas["Passage"];

interface Given {
  attribution: Omit<Schemas["Attribution"], "candidates">;
  /** The answer that the citations point into. */
  answer: string;
  /** The passage shown. */
  n: number;
  onSelect: (n: number) => void;
  onClose?: () => void;
  onVerified?: () => void;
}

export function Trail({ attribution, answer, n, onSelect, onClose, onVerified }: Given) {
  const { datapoints, citations, receipt, id } = attribution;
  const at = datapoints.findIndex((passage) => passage.n === n);
  const passage = datapoints[at];
  const before = datapoints[at - 1];
  const after = datapoints[at + 1];
  if (!passage) return null;
  return (
    <section className="trail" aria-label={`Source ${n}`}>
      <header className="trail-head">
        <span className="chip chip-large" aria-hidden>
          {n}
        </span>
        <div className="trail-title">
          <h2 className="truncate">{titleOf(passage)}</h2>
          <p className="quiet small truncate">
            {passage.datanet} · {passage.id}
          </p>
        </div>
        <IconButton
          label="Previous source"
          small
          disabled={!before}
          onClick={() => before && onSelect(before.n)}
        >
          <ChevronLeft size={16} />
        </IconButton>
        <IconButton label="Next source" small disabled={!after} onClick={() => after && onSelect(after.n)}>
          <ChevronRight size={16} />
        </IconButton>
        {onClose && (
          <IconButton label="Close the trail" small onClick={onClose}>
            <X size={16} />
          </IconButton>
        )}
      </header>
      <div className="trail-body">
        <Wording passage={passage} answer={answer} citations={citations.filter((one) => one.n === n)} />
        <Part title="Where it comes from">
          <Origin passage={passage} />
        </Part>
        <Part title="How much it mattered">
          <Influence id={id} n={n} onSelect={onSelect} />
        </Part>
        <Part title="Why it was retrieved">
          <Scores why={passage.why} />
          <Considered id={id} passages={datapoints} />
        </Part>
        <Part title="Proof">
          <Proof id={id} receipt={receipt} passage={passage} {...(onVerified ? { onVerified } : {})} />
        </Part>
      </div>
    </section>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="trail-part">
      <h3>{title}</h3>
      {children}
    </section>
  );
}

/** What the answer took from the datapoint, side by side with the datapoint itself. */
function Wording({
  passage,
  answer,
  citations,
}: {
  passage: Passage;
  answer: string;
  citations: Schemas["Citation"][];
}) {
  const text = passage.text ?? "";
  const said = useMemo(() => {
    const chars = Array.from(answer);
    const spans = citations.map((citation) => chars.slice(citation.start, citation.end).join(""));
    return [...new Set(spans.map((span) => span.replace(/\s*\[\d+(?:\s*,\s*\d+)*\]/g, "").trim()))].filter(
      Boolean,
    );
  }, [answer, citations]);
  const used = useMemo(() => repeated(text, said), [text, said]);
  const terms = useMemo(() => matching(text, passage.why.matched_terms), [text, passage.why.matched_terms]);
  return (
    <>
      {said.length > 0 && (
        <Part title="The answer says">
          <ul className="stack-s">
            {said.map((sentence) => (
              <li key={sentence} className="trail-quote">
                {sentence}
              </li>
            ))}
          </ul>
        </Part>
      )}
      <Part title="The datapoint says">
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
        <section className="trail-text" aria-label="Text of the datapoint" tabIndex={0}>
          <Marked text={text} spans={used.length > 0 ? used : terms} soft={used.length === 0} />
        </section>
        <p className="quiet small">
          {used.length > 0
            ? "Marked: wording that the answer repeats."
            : citations.length > 0
              ? "The model cited this without repeating its wording; words of the question are underlined."
              : "It was in the prompt, and the answer does not cite it; words of the question are underlined."}
          {passage.truncated && " Only its beginning fitted into the prompt."}
        </p>
      </Part>
    </>
  );
}

function Marked({ text, spans, soft }: { text: string; spans: Span[]; soft: boolean }) {
  const parts: ReactNode[] = [];
  let at = 0;
  for (const span of spans) {
    parts.push(text.slice(at, span.start));
    const inside = text.slice(span.start, span.end);
    parts.push(
      soft ? (
        <span key={span.start} className="trail-term">
          {inside}
        </span>
      ) : (
        <mark key={span.start}>{inside}</mark>
      ),
    );
    at = span.end;
  }
  parts.push(text.slice(at));
  return <>{parts}</>;
}

function Origin({ passage }: { passage: Passage }) {
  const metadata = Object.entries(passage.metadata as Record<string, unknown>).filter(
    ([name]) => !PLACE.includes(name),
  );
  return (
    <dl className="facts">
      <dt>Contributor</dt>
      <dd className="trail-contributor">{passage.contributor}</dd>
      <dt>Contributed</dt>
      <dd>{date(passage.contributed_at)}</dd>
      <dt>Licence</dt>
      <dd>{passage.licence || "none named"}</dd>
      {passage.source && (
        <>
          <dt>Source</dt>
          <dd>{passage.source}</dd>
        </>
      )}
      <Original passage={passage} />
      {metadata.map(([name, value]) => (
        <Metadatum key={name} name={name} value={value} />
      ))}
    </dl>
  );
}

function Metadatum({ name, value }: { name: string; value: unknown }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>
        {typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : JSON.stringify(value)}
      </dd>
    </>
  );
}

/** What else was looked at: fetched with the record once the reader asks. */
function Considered({ id, passages }: { id: string; passages: Passage[] }) {
  const [open, setOpen] = useState(false);
  const { data, error } = useQuery({ ...recordOf(id), enabled: open });
  return (
    <details className="trail-more" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Everything that was considered</summary>
      <ErrorNote error={error} />
      {open && !data && !error && <Waiting />}
      {data && <Candidates candidates={data.attribution.candidates} passages={passages} />}
    </details>
  );
}

/** The record's place in the log, what it is witnessed by, and the check of all of it, from one file. */
function Proof({ id, receipt, passage, onVerified }: ProofGiven) {
  const measured = useQuery(influenceOf(id)).data?.status === "measured";
  const { data, error, isPlaceholderData } = useQuery({
    ...proofOf(id, measured),
    // The one before shows the same but for what is new; it belongs to another answer where that changed.
    placeholderData: (before, query) => (query?.queryKey[1] === id ? before : undefined),
  });
  const bundle = useMemo(() => read(data), [data]);
  return (
    <>
      <Standing id={id} receipt={receipt} passage={passage} bundle={bundle} />
      <ErrorNote error={error} />
      <Checks
        key={id}
        id={id}
        bytes={isPlaceholderData ? undefined : data}
        {...(onVerified ? { onVerified } : {})}
      />
    </>
  );
}

interface ProofGiven {
  id: string;
  receipt: Schemas["Receipt"];
  passage: Passage;
  onVerified?: () => void;
}

/** What is wrong with a file is said where it is verified. */
function read(bytes: Uint8Array | undefined): Bundle | undefined {
  if (!bytes) return undefined;
  try {
    return parseBundle(bytes);
  } catch {
    return undefined;
  }
}

/** Verify here, or take the file along. */
function Checks({
  id,
  bytes,
  onVerified,
}: {
  id: string;
  bytes: Uint8Array | undefined;
  onVerified?: () => void;
}) {
  const trusted = useTrustedKey();
  // A proof that grows while it is checked is checked as it was; the button offers the new one.
  const [checked, setChecked] = useState<Uint8Array | null>(null);
  return (
    <div className="stack">
      <div className="row row-wrap">
        <Button
          look="primary"
          disabled={!bytes || bytes === checked}
          onClick={() => setChecked(bytes ?? null)}
        >
          <ShieldCheck size={16} aria-hidden />
          Verify
        </Button>
        <Button disabled={!bytes} onClick={() => bytes && save(bytes, `${id}.cairn.json`)}>
          <Download size={16} aria-hidden />
          Download proof
        </Button>
      </div>
      <ErrorNote error={trusted.error} />
      {!checked && (
        <p className="quiet small">
          Your browser recomputes every hash and signature by itself; the gateway takes no part. The file can
          be checked years later, without this gateway.
        </p>
      )}
      {checked && trusted.key && (
        <VerifySteps
          bytes={checked}
          publicKey={trusted.key}
          keyFrom={trusted.from}
          onDone={(outcome) => outcome.verdict === "proved" && onVerified?.()}
        />
      )}
      <Trust trusted={trusted} />
    </div>
  );
}
