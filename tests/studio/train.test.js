// Training: a tiny file becomes an adapter, watched live, left and come back to, evaluated, and chatted with.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, api, browser, clean, key, open, threads, url, visit } from "./browser.js";
import { account, BASE, examples, filledDatanet } from "./fixtures.js";

after(() => browser.close());

/** As small as a run can be. */
const QUICK = {
  Rank: "4",
  "Most steps": "4",
  "Batch size": "2",
  "Batches per step": "1",
  "Longest example, in tokens": "64",
  "Evaluate every … steps": "2",
  "Answers to compare": "2",
};

async function fill(page, name) {
  await visit(page, "/train/new");
  // Present only once there is a datanet to learn from as well; a file is what this run wants.
  await page.getByRole("button", { name: "A file of examples", exact: true }).click();
  await page.locator('input[type="file"]').setInputFiles(examples());
  await page.getByText("examples.jsonl", { exact: true }).waitFor();
  await page.getByLabel("Name of the adapter").fill(name);
  await page.getByRole("button", { name: "LoRA", exact: true }).click();
  await page.getByText("All settings").click();
  for (const [label, value] of Object.entries(QUICK)) await page.getByLabel(label, { exact: true }).fill(value);
}

async function ended(name) {
  for (let n = 0; n < 240; n += 1) {
    const job = (await api("GET", "/v1/fine_tuning/jobs")).data.find(({ metadata }) => metadata?.name === name);
    if (job && !["queued", "running"].includes(job.status)) return job;
    await new Promise((done) => setTimeout(done, 500));
  }
  throw new Error(`${name} has not ended`);
}

async function withinWindow(page, path) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(over <= 0, `${path} is ${over} px too wide`);
}

test("a file is checked, trained on, watched, left, come back to, evaluated and chatted with", async () => {
  const page = await open();
  await visit(page, "/train");
  await page.getByRole("link", { name: "New run" }).click();
  await page.getByRole("heading", { name: "New run", level: 1 }).waitFor();
  await fill(page, "tiny");

  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByText("Memory by use").waitFor({ timeout: 60_000 });
  const report = page.locator("[data-preview]");
  await report.getByText("1 row cannot be used").click();
  await report.getByText("line 25", { exact: true }).waitFor();
  assert.match(await report.locator("mark.learnt").nth(1).textContent(), /^A stack is/);
  await accessible(page, "/train/new");

  await page.getByLabel("Rank", { exact: true }).fill("8");
  await page.getByText("You changed something since this preview").waitFor();
  await page.getByLabel("Rank", { exact: true }).fill("4");

  await page.getByRole("button", { name: "Start training" }).click();
  await page.getByRole("heading", { name: "tiny", level: 1 }).waitFor({ timeout: 60_000 });
  // The curve grows while the run goes on.
  await page.locator('.chart:not([data-steps="0"])').waitFor({ timeout: 120_000 });
  const address = page.url();
  clean(page);
  await page.close();

  const job = await ended("tiny");
  assert.equal(job.status, "succeeded", JSON.stringify(job.error));
  const back = await open();
  await back.goto(address);
  await back.getByText("Base beside adapter").waitFor({ timeout: 60_000 });
  // All that went before is replayed, also what happened while nobody looked.
  await back.locator('.chart[data-steps="4"]').waitFor();
  await back.getByText("As a table").click();
  const rows = back.locator(".chart-rows tbody tr");
  const cells = await rows.evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.deepEqual(cells.map(([step]) => step), ["1", "2", "3", "4"]);
  assert.equal(cells.filter(([, training]) => training).length, 4);
  assert.equal(cells.filter(([, , heldOut]) => heldOut).length, 2);
  // The same by keyboard, said aloud.
  const curve = back.getByRole("slider", { name: "Loss by step" });
  await curve.focus();
  await back.keyboard.press("Home");
  assert.match(await curve.getAttribute("aria-valuetext"), /^step 1: training \d/);
  await back.keyboard.press("ArrowRight");
  assert.match(await curve.getAttribute("aria-valuetext"), /^step 2: training .*, held out /);
  // And it is drawn: the canvas is not of one colour.
  const colours = await back.locator(".chart canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
  assert.ok(colours > 5, `${colours} colours`);
  const evaluation = await api("GET", `/v1/fine_tuning/jobs/${job.id}/evaluation`);
  assert.equal(await back.locator(".measure").count(), evaluation.metrics.length);
  const perplexity = evaluation.metrics.find(({ kind }) => kind === "perplexity");
  assert.ok(perplexity.adapter.value < perplexity.base.value);
  await back.getByText("perplexity", { exact: false }).first().waitFor();
  await accessible(back, "/train/$id");

  const download = back.waitForEvent("download");
  await back.getByRole("button", { name: "Download the report" }).click();
  assert.equal((await download).suggestedFilename(), "tiny-report.html");

  // It goes by its name already; another one is given here, and then moved on to what is trained next.
  const published = back.getByRole("region", { name: "Published" });
  await published.getByRole("link", { name: `${BASE}:tiny` }).waitFor();
  await published.getByLabel("Publish it under another name").fill("tiny-too");
  await published.getByRole("button", { name: "Publish" }).click();
  await published.getByRole("link", { name: `${BASE}:tiny-too` }).waitFor();
  assert.equal((await api("GET", `/v1/adapters/${BASE}/tiny-too`)).generation, job.adapter_generation);

  await back.getByRole("link", { name: "Adapter", exact: true }).click();
  await back.getByRole("heading", { name: "tiny", level: 1 }).waitFor();
  await back.goBack();
  await back.getByRole("link", { name: "Chat with it" }).click();
  await back.getByLabel("Your question").fill("Define: queue");
  await back.keyboard.press("Enter");
  await back.locator(".answer-foot").waitFor({ timeout: 240_000 });
  const [thread] = await threads(back);
  assert.equal(thread.turns[0].answers[0].attribution.adapter_generation, job.adapter_generation);
  clean(back);
});

test("a run is paused, goes on, and is cancelled", async () => {
  const page = await open();
  await fill(page, "stopped");
  await page.getByLabel("Most steps", { exact: true }).fill("400");
  await page.getByRole("button", { name: "Start training" }).click();
  await page.getByRole("heading", { name: "stopped", level: 1 }).waitFor({ timeout: 60_000 });
  await page.locator('.chart:not([data-steps="0"])').waitFor({ timeout: 120_000 });
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Resume" }).click({ timeout: 60_000 });
  await page.getByText(/Going on from the last checkpoint/).first().waitFor({ timeout: 120_000 });
  await page.getByRole("button", { name: "Cancel the run" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the run" }).click();
  await page.locator(".badge", { hasText: "cancelled" }).waitFor({ timeout: 60_000 });
  clean(page);
});

test("two runs are laid side by side, at 390 px too", async () => {
  const page = await open({ width: 390, height: 844 });
  await visit(page, "/train");
  await page.getByRole("checkbox", { name: "Compare tiny" }).click();
  await page.getByRole("checkbox", { name: "Compare stopped" }).click();
  await accessible(page, "/train");
  await withinWindow(page, "/train");
  await page.getByRole("link", { name: "Compare 2 runs" }).click();
  await page.getByText("Set otherwise").waitFor({ timeout: 60_000 });
  await page.getByRole("cell", { name: "max_steps" }).waitFor();
  await page.getByText("As a table").click();
  await page.locator(".chart-rows thead th").nth(2).waitFor();
  assert.deepEqual(await page.locator(".chart-rows thead th").allTextContents(), ["Step", "tiny", "stopped"]);
  await accessible(page, "/train/compare");
  await withinWindow(page, "/train/compare");
  clean(page);
});

test("the values that a preset is said to have are the gateway's", async () => {
  const page = await open({ width: 390, height: 844 });
  const form = new FormData();
  const { name, buffer } = examples();
  form.append("purpose", "fine-tune");
  form.append("file", new Blob([buffer]), name);
  const sent = { method: "POST", headers: { authorization: `Bearer ${key}` }, body: form };
  const file = await (await fetch(`${url}/v1/files`, sent)).json();
  await visit(page, "/train/new");
  await page.getByText("All settings").click();
  await withinWindow(page, "/train/new");
  await accessible(page, "/train/new");
  for (const preset of ["fast", "balanced", "thorough"]) {
    await page.getByRole("radio", { name: new RegExp(`^${preset}`, "i") }).check();
    const { options } = await api("POST", "/v1/fine_tuning/preview", {
      model: BASE,
      training_file: file.id,
      method: { type: "qlora", preset },
    });
    const shown = await page.evaluate(() =>
      Object.fromEntries(
        [...document.querySelectorAll(".settings [data-option]")].map((field) => [field.dataset.option, field.dataset.preset]),
      ),
    );
    assert.ok(Object.keys(shown).length > 20, `${Object.keys(shown).length} options are shown`);
    // Some of the gateway's numbers are 32-bit floats.
    const said = (value) => {
      if (typeof value === "number") return String(Number(value.toPrecision(6)));
      if (value === null || value === false) return "off";
      return value === true ? "on" : [value].flat().join(", ");
    };
    for (const [option, value] of Object.entries(shown)) assert.equal(value, said(options[option]), `${preset}: ${option}`);
  }
  clean(page);
});

test("a datanet is learnt by its template, and who may not train is not offered it", async () => {
  await filledDatanet("train-test");
  const page = await open();
  await visit(page, "/train/new");
  await page.getByLabel("Datanet").selectOption("train-test");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByText("Memory by use").waitFor({ timeout: 60_000 });
  await page.getByText(/Define: (hash-table|b-tree|cairn|deadlock)/).first().waitFor();
  clean(page);
  const other = await open({ credential: await account("reader", "app") });
  await visit(other, "/");
  await other.getByRole("link", { name: "Chat" }).first().waitFor();
  assert.equal(await other.getByRole("link", { name: "Train" }).count(), 0);
  clean(other);
});
