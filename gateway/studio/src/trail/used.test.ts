// The wording that an answer takes from a passage.
import assert from "node:assert/strict";
import { test } from "node:test";
import { matching, repeated } from "./used.ts";

const passage = "B-tree\n\nA multi-way balanced tree. The “B” stands for Bayer.";
const texts = (spans: { start: number; end: number }[]) =>
  spans.map(({ start, end }) => passage.slice(start, end));

test("three words in a row count, fewer do not", () => {
  assert.deepEqual(texts(repeated(passage, ["It is a multi-way balanced tree, of course"])), [
    "A multi-way balanced tree",
  ]);
  assert.deepEqual(repeated(passage, ["a balanced one"]), []);
});

test("words apart are apart", () => {
  const found = repeated(passage, ["a multi way tree", "B stands for Bayer"]);
  assert.deepEqual(texts(found), ["A multi-way", "B” stands for Bayer"]);
});

test("terms match whole words and stems", () => {
  assert.deepEqual(texts(matching(passage, ["b", "balance"])), ["B", "balanced", "B"]);
});
