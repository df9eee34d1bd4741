// Lines of usage, added up by what the reader chooses.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Line, summed } from "./sums.ts";

const line = (
  day: string,
  subject: string,
  model: string,
  key: string | undefined,
  tokens: number,
): Line => ({
  day,
  subject,
  model,
  requests: 1,
  prompt_tokens: tokens,
  completion_tokens: 1,
  ...(key ? { key } : {}),
});

const lines = [
  line("2026-11-01", "ada", "small", "k1", 5),
  line("2026-11-02", "ada", "large", undefined, 5),
  line("2026-11-02", "eve", "small", "k2", 50),
];

test("most tokens first, days latest first, each line in one sum", () => {
  const names = (by: Parameters<typeof summed>[1]) => summed(lines, by).map(({ name }) => name);
  assert.deepEqual(names("subject"), ["eve", "ada"]);
  assert.deepEqual(names("model"), ["small", "large"]);
  assert.deepEqual(names("day"), ["2026-11-02", "2026-11-01"]);
  assert.deepEqual(names("key"), ["k2", "k1", "no key"]);
  const [, ada] = summed(lines, "subject");
  assert.deepEqual(ada, { name: "ada", requests: 2, read: 10, written: 2 });
  for (const by of ["subject", "model", "day", "key"] as const) {
    assert.equal(
      summed(lines, by).reduce((all, { read }) => all + read, 0),
      60,
    );
  }
});
