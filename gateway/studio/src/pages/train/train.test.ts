import assert from "node:assert/strict";
import { test } from "node:test";
import { course } from "./course";
import { rows, smooth } from "./curve";
import { asked } from "./evaluation";
import { duration, figure, overall, sentence, spent, verdict } from "./measures";
import { chosen } from "./options";
import type { JobEvent, Metric, MetricKind } from "./shapes";

function metric(kind: MetricKind, base: number, adapter: number, significant: boolean): Metric {
  const estimate = (value: number) => ({ value, low: value, high: value });
  const difference = { ...estimate(adapter - base), significant };
  return { kind, base: estimate(base), adapter: estimate(adapter), difference, scored: 10, unscored: 0 };
}

test("less is better for perplexity, more for the others, and chance is named", () => {
  assert.equal(verdict(metric("perplexity", 176, 46.9, true)), "better");
  assert.equal(verdict(metric("rouge_l", 176, 46.9, true)), "worse");
  assert.equal(verdict(metric("bleu", 1, 2, false)), "unclear");
  assert.match(
    sentence(metric("perplexity", 175.77, 46.89, true)),
    /falls from 176 to 46\.9: the adapter is better\.$/,
  );
  assert.match(sentence(metric("exact_match", 0, 0, false)), /It stays at 0\.$/);
  const mixed = [metric("perplexity", 2, 1, true), metric("bleu", 2, 1, true), metric("rouge1", 1, 1, false)];
  assert.equal(overall(mixed).text, "The adapter is better than its base on 1 of 3 measures and worse on 1.");
  assert.equal(overall(mixed.slice(0, 1)).verdict, "better");
});

test("numbers and times as people say them", () => {
  assert.deepEqual([175.77, 46.89, 1.584, 0.0416, 0].map(figure), ["176", "46.9", "1.58", "0.042", "0"]);
  assert.deepEqual([0.2, 42, 600, 5400, 7260].map(duration), [
    "under a second",
    "42 s",
    "10 min",
    "1 h 30 min",
    "2 h 1 min",
  ]);
});

test("time is told by its parts, and what is not known is left out", () => {
  const times = { loading: 2, steps: 600, watching: 60, scoring: 120, answers: null };
  assert.equal(
    spent(times),
    "loading 2 s, steps 10 min, evaluations on the way 60 s, likelihoods at the end 2 min",
  );
  assert.match(spent({ ...times, answers: 30 }), /, answers at the end 30 s$/);
});

test("options are sent as what they are, and only those that were given", () => {
  const given = {
    r: "4",
    use_dora: "on",
    packing: "off",
    max_grad_norm: "off",
    schedule: "cosine",
    lr: " ",
    base_form: "f16",
  };
  const both = { r: 4, use_dora: true, packing: false, max_grad_norm: null, schedule: "cosine" };
  assert.deepEqual(chosen(given, "qlora"), both);
  assert.deepEqual(chosen(given, "lora"), { ...both, base_form: "f16" });
  assert.deepEqual(chosen({ target_modules: "q_proj, v_proj" }, "lora"), {
    target_modules: ["q_proj", "v_proj"],
  });
  assert.deepEqual(chosen({ target_modules: "all-linear" }, "lora"), { target_modules: "all-linear" });
  assert.deepEqual(chosen({ target_modules: ".*[02]\\.q_proj" }, "lora"), {
    target_modules: ".*[02]\\.q_proj",
  });
  assert.throws(() => chosen({ r: "many" }, "lora"), /Rank: “many” is not a number/);
});

test("a run that was interrupted counts the later of two reports of a step", () => {
  const event = (data: object): JobEvent =>
    ({
      id: "",
      object: "",
      created_at: 0,
      level: "info",
      message: "",
      type: "metrics",
      data,
    }) as unknown as JobEvent;
  const step = (at: number, loss: number) => event({ event: "step", step: at, loss });
  const found = course([
    step(1, 3),
    step(2, 2),
    step(2, 2.5),
    event({ event: "evaluated", step: 2, loss: 4 }),
    step(3, 1),
  ]);
  assert.deepEqual(
    found.steps.map(({ loss }) => loss),
    [3, 2.5, 1],
  );
  assert.deepEqual(
    found.heldOut.map(({ loss }) => loss),
    [4],
  );
});

test("a curve is smoothed, and curves of other steps stand in one table", () => {
  const even = smooth([
    [1, 2],
    [2, 2],
    [3, 2],
  ]);
  assert.deepEqual(
    even.map(([, loss]) => loss),
    [2, 2, 2],
  );
  const series = [
    { name: "training", tone: 1, points: [[1, 3] as const, [2, 2] as const] },
    { name: "held out", tone: 2, points: [[2, 4] as const, [3, 5] as const] },
  ];
  assert.deepEqual(rows(series), [
    { step: 1, values: [3, undefined] },
    { step: 2, values: [2, 4] },
    { step: 3, values: [undefined, 5] },
  ]);
});

test("the question is found in a ChatML prompt, and other prompts stay as they are", () => {
  const prompt =
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nDefine: trie<|im_end|>\n<|im_start|>assistant\n";
  assert.equal(asked(prompt), "Define: trie");
  assert.equal(asked("Define: trie"), "Define: trie");
});
