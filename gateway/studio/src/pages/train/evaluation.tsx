// Base beside adapter on rows that neither learnt from: each measure with its interval, and what it means.
import { Badge, Note } from "../../ui/feedback";
import { bytes, count, plural } from "../../ui/text";
import { figure, overall, sentence, spent, TITLES, type Verdict, verdict } from "./measures";
import { FEW, Figure, MemoryBar } from "./preview";
import { type Estimate, type Evaluation, type Metric, total } from "./shapes";

const TONES = { better: "good", worse: "bad", unclear: "plain" } as const;
const SAID: Record<Verdict, string> = { better: "better", worse: "worse", unclear: "may be chance" };
const NOTES = { better: "good", worse: "bad", unclear: "plain" } as const;

export function EvaluationOf({ evaluation }: { evaluation: Evaluation }) {
  const { metrics, held_out, bootstrap, memory, time, throughput, samples } = evaluation;
  const all = overall(metrics);
  const few = held_out.rows < FEW;
  const most = memory?.measured_peak ?? memory?.evaluation_peak;
  return (
    <div className="stack" data-evaluation>
      <Note tone={few ? "plain" : NOTES[all.verdict]}>
        <strong>{all.text}</strong>{" "}
        {few
          ? `But only ${plural(held_out.rows, "row was", "rows were")} held out, too few to be sure of anything.`
          : `Measured on ${plural(held_out.rows, "row")} that it did not learn from.`}
      </Note>
      <section className="card" aria-labelledby="measures">
        <div className="card-head">
          <h2 id="measures">Base beside adapter</h2>
          <span className="measure-legend small push">
            <span className="tone-base">
              <i className="memory-swatch" aria-hidden />
              base
            </span>
            <span className="tone-1">
              <i className="memory-swatch" aria-hidden />
              adapter
            </span>
          </span>
        </div>
        <ul>
          {metrics.map((metric) => (
            <Measure key={metric.kind} metric={metric} />
          ))}
        </ul>
        <p className="measure-foot quiet small">
          Lines are {Math.round(bootstrap.confidence * 100)}% intervals from {count(bootstrap.resamples)}{" "}
          draws of the held-out rows.{" "}
          <span className="mono measure-signature">{evaluation.bleu_signature}</span>
        </p>
      </section>
      <dl className="figures card">
        <Figure label="Training" value={rate(throughput.training)}>
          tokens a second
        </Figure>
        <Figure label="Answers, base" value={rate(throughput.decode_base)}>
          tokens a second
        </Figure>
        <Figure label="Answers, adapter" value={rate(throughput.decode_adapter)}>
          tokens a second
        </Figure>
        {memory && (
          <Figure label="Memory, most" value={most ? bytes(most) : "–"}>
            {bytes(total(memory.predicted))} predicted{memory.evaluation_peak ? " for training" : ""}
          </Figure>
        )}
      </dl>
      {memory && (
        <div className="card card-pad stack-s">
          <MemoryBar memory={memory.measured ?? memory.predicted} />
          {memory.measured && (
            <p className="quiet small">
              As measured; predicted were {bytes(total(memory.predicted))}. Activations are what nothing else
              accounts for.
            </p>
          )}
          <p className="quiet small">
            LoRA on a 16-bit base would take about {bytes(total(memory.half_lora))}, training all weights{" "}
            {bytes(total(memory.full_fine_tuning))}.
            {memory.device_peak ? ` On the device: ${bytes(memory.device_peak)} at most.` : ""}
          </p>
        </div>
      )}
      {time && (
        <div className="card card-pad stack-s">
          <h3>Time by use</h3>
          <p className="quiet small">Taken: {spent(time.measured)}.</p>
          {time.predicted && <p className="quiet small">Predicted: {spent(time.predicted)}.</p>}
        </div>
      )}
      {samples.length > 0 && (
        <section className="card" aria-labelledby="answers">
          <div className="card-head">
            <h2 id="answers">Answers side by side</h2>
            <span className="quiet small">To questions that were held out.</span>
          </div>
          <Pairs samples={samples.slice(0, SHOWN)} />
          {samples.length > SHOWN && (
            <details className="more-pairs">
              <summary className="settings-summary">{plural(samples.length - SHOWN, "more answer")}</summary>
              <Pairs samples={samples.slice(SHOWN)} />
            </details>
          )}
        </section>
      )}
    </div>
  );
}

/** Answers that are shown at first. */
const SHOWN = 3;

function Pairs({ samples }: { samples: Evaluation["samples"] }) {
  return (
    <ol>
      {samples.map(({ prompt, reference, base, adapter }) => (
        <li key={`${prompt}${reference}`} className="answer-pair">
          <p className="answer-question">{asked(prompt)}</p>
          <Said who="Reference" text={reference} />
          <Said who="Base" text={base} />
          <Said who="Adapter" text={adapter} />
        </li>
      ))}
    </ol>
  );
}

/** The last user's turn where the prompt has ChatML's marks; otherwise all of it. */
export function asked(prompt: string): string {
  const turn = prompt.split("<|im_start|>user\n").at(-1) ?? prompt;
  return turn === prompt ? prompt : (turn.split("<|im_end|>")[0] ?? turn);
}

function rate(value: number | null): string {
  return value === null ? "–" : figure(value);
}

function Said({ who, text }: { who: string; text: string }) {
  return (
    <div className="answer-said">
      <h3 className="quiet small">{who}</h3>
      <p>{text || <span className="quiet">(nothing)</span>}</p>
    </div>
  );
}

function Measure({ metric }: { metric: Metric }) {
  const { base, adapter } = metric;
  const found = verdict(metric);
  const low = Math.min(base.low, adapter.low);
  const high = Math.max(base.high, adapter.high);
  const room = (high - low || Math.abs(high) || 1) * 0.12;
  const from = Math.max(0, low - room);
  const place = (value: number) => (value - from) / (high + room - from);
  return (
    <li className="measure">
      <div className="measure-name">
        <h3>{TITLES[metric.kind]}</h3>
        <Badge tone={TONES[found]}>{metric.difference.value === 0 ? "no change" : SAID[found]}</Badge>
      </div>
      <div className="measure-bars">
        <Interval tone="base" who="base" estimate={base} place={place} />
        <Interval tone="1" who="adapter" estimate={adapter} place={place} />
      </div>
      <p className="measure-said quiet small">
        {sentence(metric)}
        {metric.unscored > 0 && ` ${plural(metric.unscored, "row")} could not be scored.`}
      </p>
    </li>
  );
}

function Interval({
  tone,
  who,
  estimate,
  place,
}: {
  tone: string;
  who: string;
  estimate: Estimate;
  place: (value: number) => number;
}) {
  const [low, high, value] = [place(estimate.low), place(estimate.high), place(estimate.value)];
  return (
    <div className={`interval tone-${tone}`}>
      <span className="hidden-visually">
        {who}: {figure(estimate.value)}, between {figure(estimate.low)} and {figure(estimate.high)}
      </span>
      <div className="interval-track" aria-hidden>
        <div className="interval-range" style={{ left: `${low * 100}%`, width: `${(high - low) * 100}%` }} />
        <div className="interval-value" style={{ left: `${value * 100}%` }} />
      </div>
      <span className="interval-number numbers" aria-hidden>
        {figure(estimate.value)}
      </span>
    </div>
  );
}
