// What the gateway says of runs where its description leaves the shape open.
import type { Schemas } from "../../api/client";

export type Job = Schemas["FineTuningJob"];
export type JobEvent = Schemas["FineTuningEvent"];

/** One optimizer step. */
export interface Step {
  event: "step";
  step: number;
  steps: number;
  epoch: number;
  loss: number;
  lr: number;
  grad_norm: number;
  tokens_per_second: number;
  tokens: number;
  resident: number;
  seconds: number;
  eta: number;
}

/** The held-out rows were scored. */
export interface Evaluated {
  event: "evaluated";
  step: number;
  loss: number;
  best: boolean;
}

export interface Same {
  row: string;
  of: string;
}

export interface Sample {
  row: string;
  tokens: number;
  supervised_tokens: number;
  segments: { text: string; supervised: boolean }[];
}

/** What was found in the data. */
export interface Validation {
  rows: number;
  train_rows: number;
  held_out_rows: number;
  bad_rows: number;
  bad: { row: string; line: number; reason: string }[];
  ignored_fields: [string, number][];
  tokens: { min: number; median: number; p95: number; max: number; total: number };
  train_tokens: number;
  supervised_tokens: number;
  max_length: number;
  too_long: "truncate_right" | "drop" | "error";
  too_long_rows: number;
  lost_tokens: number;
  duplicate_rows: number;
  duplicates: Same[];
  overlap_rows: number;
  overlap: Same[];
  samples: Sample[];
}

/** Bytes by use. */
export type Memory = Partial<Record<MemoryPart, number>>;
export type MemoryPart =
  | "weights"
  | "adapter"
  | "gradients"
  | "optimizer"
  | "activations"
  | "logits"
  | "program";

/** Seconds by use; how long answers take is not foretold. */
export interface Times {
  loading: number;
  steps: number;
  watching: number;
  scoring: number;
  answers: number | null;
}

export interface Preview {
  validation: Validation;
  trained_parameters: number;
  memory: Memory;
  memory_bytes: number;
  memory_limit_bytes: number;
  evaluation_memory_bytes: number;
  fits: boolean;
  time: Times;
  seconds: number;
  options: Options;
}

export type Options = Record<string, unknown>;

export interface Estimate {
  value: number;
  low: number;
  high: number;
}

export type MetricKind =
  | "perplexity"
  | "bits_per_byte"
  | "bleu"
  | "rouge1"
  | "rouge2"
  | "rouge_l"
  | "rouge_lsum"
  | "exact_match"
  | "normalised_match";

export interface Metric {
  kind: MetricKind;
  base: Estimate;
  adapter: Estimate;
  difference: Estimate & { significant: boolean };
  scored: number;
  unscored: number;
}

export interface LossPoint {
  step: number;
  loss: number;
}

/** Base beside adapter on the held-out rows. */
export interface Evaluation {
  held_out: { rows: number; generated: number; supervised_tokens: number };
  metrics: Metric[];
  bleu_signature: string;
  bootstrap: { resamples: number; confidence: number };
  training_loss: LossPoint[];
  evaluation_loss: LossPoint[];
  memory: {
    predicted: Memory;
    measured_peak: number | null;
    measured?: Memory | null;
    /** Of an evaluation on demand; the rest is a prediction then. */
    evaluation_peak?: number | null;
    device_peak: number | null;
    half_lora: Memory;
    full_fine_tuning: Memory;
  } | null;
  time?: { predicted: Times | null; measured: Times } | null;
  throughput: { training: number | null; decode_base: number | null; decode_adapter: number | null };
  samples: { prompt: string; reference: string; base: string; adapter: string }[];
}

export function isLive(job: Job): boolean {
  return job.status === "queued" || job.status === "running";
}

/** What a run is called: the name it was given here, the adapter's, or its id's end. */
export function nameOf(job: Job): string {
  return job.metadata?.name || job.fine_tuned_model?.split(":")[1] || job.id.slice(-8);
}

/** What it learns from, in words. */
export function dataOf(job: Job): string {
  const [, datanet] = job.training_file.split(/^datanet:/);
  return datanet ?? job.metadata?.data ?? job.training_file;
}

export function optionsOf(job: Job): Options {
  return ((job.method as { options?: Options }).options ?? {}) as Options;
}

export function methodOf(job: Job): string {
  return (job.method as { type?: string }).type === "lora" ? "LoRA" : "QLoRA";
}

export function total(memory: Memory): number {
  return Object.values(memory).reduce((sum, part) => sum + part, 0);
}
