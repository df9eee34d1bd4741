// Before a run starts: the memory and time that it will take, what was found in the data, and rows as the model sees them.
import type { ReactNode } from "react";
import { Note } from "../../ui/feedback";
import { bytes, count, plural } from "../../ui/text";
import { duration, spent } from "./measures";
import type { Memory, MemoryPart, Preview, Same, Sample, Validation } from "./shapes";
import { total } from "./shapes";

export function PreviewOf({ preview }: { preview: Preview }) {
  const { validation, memory, memory_bytes, evaluation_memory_bytes, memory_limit_bytes, fits } = preview;
  const ends = preview.options.max_steps != null || preview.options.max_time != null;
  const part = (validation.supervised_tokens / Math.max(1, validation.train_tokens)) * 100;
  return (
    <div className="stack" data-preview>
      {!fits && (
        <Note tone="warn">
          This will not fit: it needs {bytes(Math.max(memory_bytes, evaluation_memory_bytes))}, and a run may
          have {bytes(memory_limit_bytes)}. Choose QLoRA, a smaller batch, shorter examples or a lower rank.
        </Note>
      )}
      {preview.seconds > LONG && !ends && (
        <Note>
          That is a long run. You may close the page meanwhile, and pause it. “Most steps” or “Most seconds”
          under All settings end it sooner, with what it has learnt by then.
        </Note>
      )}
      <dl className="figures card">
        <Figure label="Memory" value={bytes(memory_bytes)}>
          of {bytes(memory_limit_bytes)} allowed
        </Figure>
        <Figure label="Time, about" value={duration(preview.seconds)}>
          {ends ? "if it is not ended sooner" : "on this machine"}
        </Figure>
        <Figure label="Rows to learn" value={count(validation.train_rows)}>
          {count(validation.held_out_rows)} held out
        </Figure>
        <Figure label="Tokens learnt" value={count(validation.supervised_tokens)}>
          {part.toFixed(0)}% of what is read
        </Figure>
        <Figure label="Trained numbers" value={short(preview.trained_parameters)}>
          in the adapter
        </Figure>
      </dl>
      <div className="card card-pad">
        <MemoryBar memory={memory} limit={memory_limit_bytes} />
        <p className="quiet small">The evaluation at the end: {bytes(evaluation_memory_bytes)}.</p>
        <p className="quiet small">Time: {spent(preview.time)}, and the answers to compare.</p>
      </div>
      <DataReport validation={validation} />
    </div>
  );
}

/** Seconds from which a run is called long. */
const LONG = 7200;

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function short(number: number): string {
  return compact.format(number);
}

export function Figure({ label, value, children }: { label: string; value: string; children?: ReactNode }) {
  return (
    <div className="figure">
      <dt>{label}</dt>
      <dd className="figure-value numbers">{value}</dd>
      <dd className="figure-more numbers">{children}</dd>
    </div>
  );
}

const PARTS: readonly (readonly [MemoryPart, string])[] = [
  ["weights", "base"],
  ["adapter", "adapter"],
  ["gradients", "gradients"],
  ["optimizer", "optimizer"],
  ["activations", "activations"],
  ["logits", "logits"],
  ["program", "program"],
];

/** The last part, which is no one's choice, is grey. */
function tone(part: number): string {
  return part < 6 ? `tone-${part + 1}` : "tone-base";
}

/** Memory by its parts, against a limit. */
export function MemoryBar({ memory, limit }: { memory: Memory; limit?: number }) {
  const sum = total(memory);
  const scale = Math.max(sum * 1.02, Math.min(limit ?? 0, sum * 2.5));
  const shown = PARTS.filter(([part]) => memory[part]);
  const over = limit !== undefined && sum >= limit;
  return (
    <div className="stack-s">
      <div className="row">
        <h3>Memory by use</h3>
        <span className="push quiet small numbers">
          {bytes(sum)}
          {limit !== undefined && ` of ${bytes(limit)}`}
        </span>
      </div>
      <div className="memory-bar" data-over={over || undefined} aria-hidden>
        {shown.map(([part], n) => (
          <div
            key={part}
            className={`memory-part ${tone(n)}`}
            style={{ width: `${((memory[part] ?? 0) / scale) * 100}%` }}
          />
        ))}
        {limit !== undefined && limit <= scale && (
          <div className="memory-limit" style={{ left: `${(limit / scale) * 100}%` }} />
        )}
      </div>
      <ul className="memory-legend small">
        {shown.map(([part, words], n) => (
          <li key={part} className={tone(n)}>
            <i className="memory-swatch" aria-hidden />
            {words} <span className="quiet numbers">{bytes(memory[part] ?? 0)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** What was found in the data. */
export function DataReport({ validation }: { validation: Validation }) {
  const { tokens } = validation;
  return (
    <div className="stack">
      {validation.held_out_rows > 0 && validation.held_out_rows < FEW && (
        <Note>
          Only {plural(validation.held_out_rows, "row")} will be held out to measure with: the evaluation will
          say little. More rows, or a larger held-out part, make it more certain.
        </Note>
      )}
      {validation.bad_rows > 0 && (
        <Note tone="warn">
          <details>
            <summary>{plural(validation.bad_rows, "row")} cannot be used and will be left out.</summary>
            <ul className="found">
              {validation.bad.map(({ row, line, reason }) => (
                <li key={row}>
                  <span className="mono">{line > 0 ? `line ${line}` : row}</span> {reason}
                </li>
              ))}
            </ul>
          </details>
        </Note>
      )}
      {validation.too_long_rows > 0 && (
        <Note tone="warn">
          {plural(validation.too_long_rows, "row")} are longer than {count(validation.max_length)} tokens:{" "}
          {validation.too_long === "drop"
            ? `they are left out, with ${count(validation.lost_tokens)} tokens.`
            : `${count(validation.lost_tokens)} tokens are cut off.`}{" "}
          The longest has {count(tokens.max)}.
        </Note>
      )}
      <Alike
        rows={validation.duplicate_rows}
        listed={validation.duplicates}
        text="say the same as an earlier row, and count twice."
      />
      <Alike
        rows={validation.overlap_rows}
        listed={validation.overlap}
        text="held out for measuring are also learnt: the evaluation will look better than it is."
      />
      {validation.ignored_fields.length > 0 && (
        <Note>
          Fields without a meaning here are ignored:{" "}
          {validation.ignored_fields.map(([field, rows]) => `${field} (${plural(rows, "row")})`).join(", ")}.
        </Note>
      )}
      <p className="quiet small numbers">
        Rows have {count(tokens.min)} to {count(tokens.max)} tokens; half have at most {count(tokens.median)},
        and 95 of 100 at most {count(tokens.p95)}.
      </p>
      <Samples samples={validation.samples} />
    </div>
  );
}

/** Fewer held-out rows than this measure little. */
export const FEW = 10;

function Alike({ rows, listed, text }: { rows: number; listed: Same[]; text: string }) {
  if (rows === 0) return null;
  return (
    <Note tone="warn">
      <details>
        <summary>
          {plural(rows, "row")} {text}
        </summary>
        <ul className="found">
          {listed.map(({ row, of }) => (
            <li key={row}>
              <span className="mono">{row}</span> says the same as <span className="mono">{of}</span>
            </li>
          ))}
        </ul>
      </details>
    </Note>
  );
}

function Samples({ samples }: { samples: Sample[] }) {
  return (
    <section className="card" aria-labelledby="samples">
      <div className="card-head">
        <h3 id="samples">As the model sees it</h3>
        <span className="quiet small">
          <mark className="learnt">Marked</mark> is learnt; the rest is only read.
        </span>
      </div>
      <ol className="samples">
        {samples.map(({ row, tokens, supervised_tokens, segments }) => (
          <li key={row} className="sample">
            <div className="row small quiet numbers">
              <span>{row}</span>
              <span className="push">
                {count(supervised_tokens)} of {plural(tokens, "token")} learnt
              </span>
            </div>
            <pre className="sample-text">
              {segments.map(({ text, supervised }, n) =>
                supervised ? (
                  // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a sample never move
                  <mark key={n} className="learnt">
                    {text}
                  </mark>
                ) : (
                  text
                ),
              )}
            </pre>
          </li>
        ))}
      </ol>
    </section>
  );
}
