// What each metric means, whether a change in it is more than chance, and both in one sentence.
import type { Metric, MetricKind, Times } from "./shapes";

export type Verdict = "better" | "worse" | "unclear";

export const TITLES: Record<MetricKind, string> = {
  perplexity: "Perplexity",
  bits_per_byte: "Bits per byte",
  bleu: "BLEU",
  rouge1: "ROUGE-1",
  rouge2: "ROUGE-2",
  rouge_l: "ROUGE-L",
  rouge_lsum: "ROUGE-Lsum",
  exact_match: "Exact match",
  normalised_match: "Match of words",
};

const MEANINGS: Record<MetricKind, string> = {
  perplexity: "How many tokens the model hesitates among at each step of a held-out answer",
  bits_per_byte: "How many bits the model needs for each byte of a held-out answer",
  bleu: "How many runs of up to four words an answer shares with its reference",
  rouge1: "How many words an answer shares with its reference",
  rouge2: "How many pairs of neighbouring words an answer shares with its reference",
  rouge_l: "How much of an answer follows its reference in order, with gaps allowed",
  rouge_lsum: "How much of an answer follows its reference in order, line by line",
  exact_match: "How many answers in a hundred are their reference, letter by letter",
  normalised_match: "How many answers in a hundred have their reference’s words, case and punctuation aside",
};

export function lowerIsBetter(kind: MetricKind): boolean {
  return kind === "perplexity" || kind === "bits_per_byte";
}

export function verdict({ kind, difference }: Metric): Verdict {
  if (!difference.significant) return "unclear";
  return difference.value < 0 === lowerIsBetter(kind) ? "better" : "worse";
}

/** Three digits that matter. */
export function figure(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return size < 5e-7 ? "0" : value.toFixed(3);
}

export function sentence(metric: Metric): string {
  const [base, adapter] = [figure(metric.base.value), figure(metric.adapter.value)];
  const rises = metric.adapter.value > metric.base.value;
  const moved =
    base === adapter ? `It stays at ${base}` : `It ${rises ? "rises" : "falls"} from ${base} to ${adapter}`;
  const found = {
    better: "the adapter is better.",
    worse: "the adapter is worse.",
    unclear: "that may be chance.",
  }[verdict(metric)];
  const direction = lowerIsBetter(metric.kind) ? "less is better" : "more is better";
  if (metric.difference.value === 0) return `${MEANINGS[metric.kind]}; ${direction}. It stays at ${base}.`;
  return `${MEANINGS[metric.kind]}; ${direction}. ${moved}: ${found}`;
}

/** The outcome of all metrics together, for a headline. */
export function overall(metrics: Metric[]): { verdict: Verdict; text: string } {
  const better = metrics.filter((metric) => verdict(metric) === "better").length;
  const worse = metrics.filter((metric) => verdict(metric) === "worse").length;
  const rest = better + worse === metrics.length ? "." : "; the rest may be chance.";
  const of = `of ${metrics.length} measures`;
  if (better === 0 && worse === 0)
    return { verdict: "unclear", text: "No measure moved by more than chance." };
  if (worse === 0)
    return { verdict: "better", text: `The adapter is better than its base on ${better} ${of}${rest}` };
  if (better === 0)
    return { verdict: "worse", text: `The adapter is worse than its base on ${worse} ${of}.` };
  return {
    verdict: "unclear",
    text: `The adapter is better than its base on ${better} ${of} and worse on ${worse}.`,
  };
}

/** Seconds as a person says them. */
export function duration(seconds: number): string {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return `${hours} h ${minutes % 60} min`;
}

const USES: readonly (readonly [keyof Times, string])[] = [
  ["loading", "loading"],
  ["steps", "steps"],
  ["watching", "evaluations on the way"],
  ["scoring", "likelihoods at the end"],
  ["answers", "answers at the end"],
];

/** Where time goes, by its parts; those of which nothing is known are left out. */
export function spent(times: Times): string {
  const parts = USES.flatMap(([use, words]) => {
    const seconds = times[use];
    return seconds === null ? [] : [`${words} ${duration(seconds)}`];
  });
  return parts.join(", ");
}
