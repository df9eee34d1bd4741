// CSV files with columns of other names become the datapoints that their owner meant.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCsv } from "./csv.ts";
import { asItIs, guess, rewritten } from "./mapping.ts";

const csv = 'Author,Body,Topic\r\nAda,"Stones, and ""paths""\nmark the way.",cairns\r\n,Second,\r\n';

test("quotes, commas and line ends inside a field", () => {
  assert.deepEqual(parseCsv(csv)[1], ["Ada", 'Stones, and "paths"\nmark the way.', "cairns"]);
});

test("columns are guessed by name, the rest is metadata, empty fields are left out", () => {
  const mapping = guess(["Author", "Body", "Topic"]);
  assert.deepEqual(mapping, { text: "Body", contributor: "Author" });
  assert.deepEqual(
    rewritten(csv, mapping)
      .split("\n")
      .map((line) => JSON.parse(line)),
    [
      { contributor: "Ada", text: 'Stones, and "paths"\nmark the way.', metadata: { Topic: "cairns" } },
      { text: "Second" },
    ],
  );
});

test("a header in the gateway's own names needs no rewriting", () => {
  assert.ok(asItIs(guess(["id", "text", "topic"]), ["id", "text", "topic"]));
  assert.ok(!asItIs(guess(["Body"]), ["Body"]));
});
