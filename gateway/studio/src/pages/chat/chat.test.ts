// Answers are cut at offsets of Unicode scalar values; nothing of the text may be lost or moved.
import assert from "node:assert/strict";
import { test } from "node:test";
import { blocks } from "./markup.ts";
import { chips, sentences } from "./support.ts";

const read = (text: string) => {
  const chars = Array.from(text);
  return blocks(chars).map((block) => [
    block.kind,
    ...block.runs.map(
      (run) => chars.slice(run.start, run.end).join("") + (run.style ? ` (${run.style})` : ""),
    ),
  ]);
};

test("blocks and styles", () => {
  assert.deepEqual(read("# Trees\n\nA **B-tree** 🌲 is `wide`.\n- one\n2. two\n```\nx = [1]\n```"), [
    ["heading", "Trees"],
    ["text", "A ", "B-tree (strong)", " 🌲 is ", "wide (code)", "."],
    ["item", "one"],
    ["item", "two"],
    ["code", "x = [1]"],
  ]);
});

test("marks without an end are text, and an open fence still shows its code", () => {
  assert.deepEqual(read("2 ** 3 and `x"), [["text", "2 ** 3 and `x"]]);
  assert.deepEqual(read("```py\ny = 1"), [["code", "y = 1"]]);
});

test("a sentence without a citation is unsupported, a short one claims nothing", () => {
  const text = "🌲 Trees are very wide. They are also rather tall. Yes.";
  const chars = Array.from(text);
  const citation = { choice: 0, n: 1, start: 2, end: 22, kind: "overlap" as const };
  const found = sentences(chars, 0, chars.length, [citation]);
  assert.deepEqual(
    found.map(({ supported }) => supported),
    [true, false, true],
  );
});

test("chips replace known markers and follow repeated sentences", () => {
  const chars = Array.from("🌲 Wide [1, 9]. Tall and green too.");
  const overlap = { choice: 0, n: 2, start: 16, end: 35, kind: "overlap" as const };
  assert.deepEqual(chips(chars, [overlap], 3), [
    { start: 7, end: 13, n: [1] },
    { start: 35, end: 35, n: [2] },
  ]);
});

test("a sentence that has its marker gets no second chip", () => {
  const chars = Array.from("Trees are wide here [1].");
  const overlap = { choice: 0, n: 1, start: 0, end: 24, kind: "overlap" as const };
  assert.deepEqual(chips(chars, [overlap], 1), [{ start: 20, end: 23, n: [1] }]);
});
