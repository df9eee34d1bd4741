// Every option of a run: what it is called, what it does, and what each preset sets it to.
import type { Options } from "./shapes";

export type Preset = "fast" | "balanced" | "thorough";

export const PRESETS: readonly { id: Preset; title: string; text: string }[] = [
  {
    id: "fast",
    title: "Fast",
    text: "A first look: a small adapter on the attention layers, and one pass over the data.",
  },
  {
    id: "balanced",
    title: "Balanced",
    text: "What most runs want: all linear layers, three passes, and an end when it stops getting better.",
  },
  {
    id: "thorough",
    title: "Thorough",
    text: "When time is no matter: a large adapter, five passes, and noise against learning by heart.",
  },
];

type Kind = "number" | "switch" | "modules" | readonly (readonly [string, string])[];

export interface Option {
  name: string;
  label: string;
  text: string;
  kind: Kind;
  /** What the gateway does where the preset has no value. */
  unset?: string;
  /** Only with this method. */
  only?: "lora";
}

export const ALL_LINEAR = "all-linear";
export const ATTENTION = "q_proj, k_proj, v_proj, o_proj";

export const GROUPS: readonly { title: string; options: readonly Option[] }[] = [
  {
    title: "The adapter",
    options: [
      {
        name: "r",
        label: "Rank",
        kind: "number",
        text: "How much it can learn. Twice the rank is twice the size.",
      },
      {
        name: "alpha",
        label: "Alpha",
        kind: "number",
        text: "How strongly it acts: its change is scaled by alpha ÷ rank.",
      },
      {
        name: "target_modules",
        label: "Layers",
        kind: "modules",
        text: "Which layers of the base get an addition.",
      },
      {
        name: "dropout",
        label: "Dropout",
        kind: "number",
        text: "The part of its inputs that is left out at random, against learning by heart: 0 to 0.1.",
      },
      {
        name: "use_rslora",
        label: "rsLoRA",
        kind: "switch",
        text: "Scales by alpha ÷ √rank, which keeps high ranks learning.",
      },
      {
        name: "use_dora",
        label: "DoRA",
        kind: "switch",
        text: "Learns size and direction apart. Often a little better, and slower.",
      },
      {
        name: "base_form",
        label: "Base is kept in",
        only: "lora",
        kind: [
          ["stored", "the form of its file"],
          ["f32", "32-bit floats"],
          ["f16", "16-bit floats"],
          ["nf4", "4 bits (NF4)"],
        ],
        text: "How the frozen base lies in memory. QLoRA always uses 4 bits.",
      },
    ],
  },
  {
    title: "Learning",
    options: [
      {
        name: "lr",
        label: "Learning rate",
        kind: "number",
        text: "The size of a step, usually 0.0001 to 0.0005. Too high and the loss jumps; too low and little is learnt.",
      },
      {
        name: "schedule",
        label: "Schedule",
        kind: [
          ["constant", "constant"],
          ["linear", "linear, down to 0"],
          ["cosine", "cosine, down to 0"],
        ],
        text: "How the learning rate falls in the course of the run.",
      },
      {
        name: "warmup_ratio",
        label: "Warm-up, share of steps",
        kind: "number",
        text: "The part of the run in which the rate rises to its full height.",
      },
      {
        name: "warmup_steps",
        unset: "not used",
        label: "Warm-up, in steps",
        kind: "number",
        text: "The same as a number of steps, which then counts.",
      },
      {
        name: "optimizer",
        label: "Optimizer",
        kind: [
          ["adamw", "AdamW"],
          ["adamw_8bit", "AdamW, states in 8 bits"],
        ],
        text: "8 bits take a quarter of the optimizer’s memory.",
      },
      {
        name: "weight_decay",
        label: "Weight decay",
        kind: "number",
        text: "Pulls the adapter towards zero; 0 switches it off.",
      },
      {
        name: "max_grad_norm",
        label: "Gradient clipping",
        kind: "number",
        text: "Longer gradients are shortened to this, so that one odd batch cannot spoil the run; “off” for none.",
      },
      {
        name: "neftune_noise_alpha",
        label: "NEFTune noise",
        kind: "number",
        text: "Noise on the inputs while learning, usually 5; answers become less copied.",
      },
    ],
  },
  {
    title: "Length and size",
    options: [
      { name: "epochs", label: "Epochs", kind: "number", text: "How often all of the data is gone through." },
      {
        name: "max_steps",
        unset: "no limit",
        label: "Most steps",
        kind: "number",
        text: "Ends the run after so many steps, whatever the epochs.",
      },
      {
        name: "max_time",
        unset: "no limit",
        label: "Most seconds",
        kind: "number",
        text: "Ends the run after this time with what it has learnt by then.",
      },
      {
        name: "batch_size",
        label: "Batch size",
        kind: "number",
        text: "Examples that go through the model together. More need more memory.",
      },
      {
        name: "gradient_accumulation",
        label: "Batches per step",
        kind: "number",
        text: "Batches that are gathered into one step: the effect of larger ones without their memory.",
      },
      {
        name: "max_length",
        label: "Longest example, in tokens",
        kind: "number",
        text: "What becomes of longer ones is said next; the preview counts them.",
      },
      {
        name: "too_long",
        label: "Longer examples",
        kind: [
          ["truncate_right", "are cut off at the right"],
          ["drop", "are left out"],
          ["error", "keep the run from starting"],
        ],
        text: "What is cut off is not learnt, nor is the end of the answer.",
      },
      {
        name: "train_on_prompt",
        label: "Learn questions too",
        kind: "switch",
        text: "Learns what is asked as well, not only what is answered.",
      },
      {
        name: "packing",
        label: "Packing",
        kind: "switch",
        text: "Puts short examples into one row without one seeing another: less waste, faster.",
      },
      {
        name: "gradient_checkpointing",
        label: "Gradient checkpointing",
        kind: "switch",
        text: "Computes some things twice rather than keeping them: much less memory, a third slower.",
      },
    ],
  },
  {
    title: "Watching and keeping",
    options: [
      {
        name: "eval_every",
        unset: "each epoch",
        label: "Evaluate every … steps",
        kind: "number",
        text: "How often the held-out rows are scored; without it after each epoch.",
      },
      {
        name: "early_stopping_patience",
        label: "Patience",
        kind: "number",
        text: "Ends the run after so many evaluations that were no better; “off” for never.",
      },
      {
        name: "checkpoint_every",
        unset: "each epoch",
        label: "Checkpoint every … steps",
        kind: "number",
        text: "From where an interrupted run goes on; without it after each epoch.",
      },
      {
        name: "seed",
        label: "Seed",
        kind: "number",
        text: "The same seed and data give the same run, number by number.",
      },
    ],
  },
];

const SAME: Options = {
  target_modules: ALL_LINEAR,
  dropout: 0,
  use_rslora: false,
  use_dora: false,
  base_form: "stored",
  schedule: "linear",
  warmup_ratio: 0.03,
  warmup_steps: null,
  optimizer: "adamw",
  weight_decay: 0,
  max_grad_norm: 1,
  neftune_noise_alpha: null,
  max_steps: null,
  max_time: null,
  batch_size: 4,
  gradient_accumulation: 4,
  too_long: "truncate_right",
  train_on_prompt: false,
  packing: false,
  gradient_checkpointing: true,
  eval_every: null,
  early_stopping_patience: null,
  checkpoint_every: null,
  seed: 42,
};

/** The gateway's presets, to show before it is asked; the browser tests hold them against its answers. */
export const PRESET_VALUES: Record<Preset, Options> = {
  fast: {
    ...SAME,
    r: 8,
    alpha: 16,
    target_modules: ATTENTION,
    lr: 0.0005,
    epochs: 1,
    max_length: 512,
    packing: true,
    gradient_accumulation: 1,
  },
  balanced: {
    ...SAME,
    r: 16,
    alpha: 32,
    lr: 0.0004,
    epochs: 3,
    max_length: 512,
    packing: true,
    gradient_accumulation: 1,
    early_stopping_patience: 3,
  },
  thorough: {
    ...SAME,
    r: 64,
    alpha: 64,
    dropout: 0.05,
    lr: 0.0002,
    schedule: "cosine",
    epochs: 5,
    max_length: 2048,
    neftune_noise_alpha: 5,
    early_stopping_patience: 5,
  },
};

/** A value as it is shown. */
export function said(value: unknown): string {
  if (value === null || value === undefined) return "off";
  if (typeof value === "boolean") return value ? "on" : "off";
  if (Array.isArray(value)) return value.join(", ");
  // Some are 32-bit floats, whose further digits mean nothing.
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  return String(value);
}

export type Given = Record<string, string>;

/** What was typed, as the gateway takes it; fields left empty are the preset's. Throws where a number is none. */
export function chosen(given: Given, method: "lora" | "qlora"): Options {
  const options: Options = {};
  for (const option of GROUPS.flatMap((group) => group.options)) {
    const text = (given[option.name] ?? "").trim();
    if (text === "" || (option.only && option.only !== method)) continue;
    options[option.name] = read(option, text);
  }
  return options;
}

function read({ kind, label }: Option, text: string): unknown {
  if (kind === "switch") return text === "on";
  if (kind === "modules") return modules(text);
  if (kind !== "number") return text;
  if (text === "off") return null;
  const number = Number(text);
  if (!Number.isFinite(number)) throw new Error(`${label}: “${text}” is not a number`);
  return number;
}

/** Names become a list; anything else is a pattern. */
function modules(text: string): string | string[] {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
  return text !== ALL_LINEAR && names.every((name) => /^[\w.]+$/.test(name)) ? names : text;
}
