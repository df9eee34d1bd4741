// Tables with columns of other names are read as their owner meant.
import assert from "node:assert/strict";
import { test } from "node:test";
import { asParameter, guess } from "./mapping.ts";

test("columns are guessed by name", () => {
  assert.deepEqual(guess(["Author", "Body", "Topic"]), { text: "Body", contributor: "Author" });
  assert.deepEqual(guess(["Topic"]), {});
});

test("only what differs from the gateway's own names is said", () => {
  assert.equal(asParameter(guess(["id", "text", "topic"])), undefined);
  assert.equal(asParameter(guess(["id", "Body, as it is"])), undefined);
  assert.deepEqual(JSON.parse(asParameter({ id: "id", text: "Body, as it is" }) ?? ""), {
    text: "Body, as it is",
  });
});
