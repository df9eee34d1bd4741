//! The steps as they are rendered: marks that do not rely on colour, values on demand, no inline styles.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { BundleDrop } from "./BundleDrop.tsx";
import { changed, golden } from "./golden.ts";
import { StepItem, VerifySteps } from "./VerifySteps.tsx";
import { verifyBundle } from "./verify.ts";

const key = new TextDecoder().decode(golden("cairn.pub"));

test("a failed step is open and shows both values", async () => {
  const { failed } = await verifyBundle(changed("/datapoints/0/disclosed/text/value", "<b>Other</b>"), key);
  assert.ok(failed);
  const html = renderToStaticMarkup(createElement(StepItem, { step: failed }));
  assert.match(html, /data-status="failed"/);
  assert.match(html, /<details[^>]* open="">/);
  assert.match(html, /: does not hold/);
  const [value] = failed.values;
  assert.ok(value && html.includes(value.expected) && html.includes(value.found));
  assert.notEqual(value.expected, value.found);
  assert.ok(!html.includes("style="));
});

test("a step that holds keeps its values closed, and its path is a table", async () => {
  const { steps } = await verifyBundle(golden("bundle.json"), key);
  for (const step of steps) {
    const html = renderToStaticMarkup(createElement(StepItem, { step }));
    assert.match(html, /: holds/);
    assert.ok(!html.includes(" open") && !html.includes("style="));
    assert.equal(html.match(/<tr>/g)?.length ?? 0, step.path.length > 0 ? step.path.length + 1 : 0);
  }
});

test("before anything is done, an ordered list and a status are there to fill", () => {
  const html = renderToStaticMarkup(
    createElement(VerifySteps, { bytes: golden("bundle.json"), publicKey: key }),
  );
  assert.match(html, /role="status" aria-live="polite"/);
  assert.match(html, /<ol class="verify-steps">/);
});

test("both files can be chosen without a mouse", () => {
  const html = renderToStaticMarkup(createElement(BundleDrop));
  const inputs = [...html.matchAll(/<input id="([^"]+)" type="file"/g)].map((match) => match[1]);
  assert.equal(inputs.length, 2);
  for (const id of inputs) assert.ok(html.includes(`for="${id}"`));
  assert.ok(!html.includes("style="));
});
