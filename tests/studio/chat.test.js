// Chat: comparing, stopping, editing, retrying, and what is kept.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, browser, clean, open, visit } from "./browser.js";
import { BASE, filledDatanet } from "./fixtures.js";

before(() => filledDatanet("chat-test"));
after(() => browser.close());

const DONE = { timeout: 180_000 };
const settings = { choices: [{ model: BASE, adapter: null }], datanets: ["chat-test"], maxTokens: 24, temperature: 0 };

async function chat(more = {}) {
  const page = await open();
  await page.addInitScript((kept) => {
    if (!localStorage.getItem("cairn.chat-settings")) localStorage.setItem("cairn.chat-settings", kept);
  }, JSON.stringify({ ...settings, ...more }));
  await visit(page, "/chat");
  return page;
}

async function ask(page, question) {
  await page.getByLabel("Your question").fill(question);
  await page.keyboard.press("Enter");
}

const threads = (page) => page.evaluate(() => JSON.parse(localStorage.getItem("cairn.threads") ?? "[]"));

test("two answers stand side by side, each with its own record", async () => {
  const page = await chat();
  await page.getByRole("button", { name: "Compare two side by side" }).click();
  await ask(page, "What is a deadlock?");
  await page.locator(".answer-foot").nth(1).waitFor(DONE);
  const [thread] = await threads(page);
  const [one, two] = thread.turns[0].answers;
  assert.notEqual(one.attribution.id, two.attribution.id);
  assert.equal(one.text, two.text, "the same model, settings and question");
  const boxes = await Promise.all([0, 1].map((n) => page.locator(".answer").nth(n).boundingBox()));
  assert.ok(boxes[0].x + boxes[0].width <= boxes[1].x, "not side by side");
  clean(page);
});

test("a stopped answer says that it has no record", async () => {
  const page = await chat({ maxTokens: 400 });
  await ask(page, "Tell me everything about trees.");
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("What is stopped has no record").waitFor(DONE);
  assert.equal((await threads(page))[0].turns[0].answers[0].attribution, undefined);
  clean(page);
});

test("editing a question answers it anew, and the conversation outlives a reload", async () => {
  const page = await chat();
  await ask(page, "What is a cairn?");
  await page.locator(".answer-foot").waitFor(DONE);
  await page.locator(".question").hover();
  await page.getByRole("button", { name: "Edit the question" }).click();
  await page.getByLabel("Edit the question").fill("What is a B-tree?");
  await page.getByRole("button", { name: "Ask again" }).click();
  await page.getByRole("heading", { name: "What is a B-tree?", level: 2 }).waitFor();
  await page.locator(".answer-foot").waitFor(DONE);
  const before = await threads(page);
  assert.equal(before[0].turns.length, 1);
  assert.equal(before[0].turns[0].question, "What is a B-tree?");
  await page.reload();
  await page.getByRole("heading", { name: "What is a B-tree?", level: 2 }).waitFor();
  await page.getByRole("button", { name: "History" }).click();
  await page.getByRole("button", { name: "Delete “What is a B-tree?”" }).click();
  await page.getByText("None yet").waitFor();
  assert.deepEqual(await threads(page), []);
  clean(page);
});

test("sampling settings reach the gateway", async () => {
  const page = await chat();
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Seed").fill("7");
  await page.getByLabel("How passages are found").selectOption("full_text");
  await page.getByLabel("The best passages are read once more").selectOption("late_interaction");
  await page.keyboard.press("Escape");
  const sent = page.waitForRequest((request) => request.url().endsWith("/v1/chat/completions"));
  await ask(page, "What is a cairn?");
  const body = JSON.parse((await sent).postData());
  assert.equal(body.seed, 7);
  assert.equal(body.max_tokens, 24);
  assert.deepEqual(body.datanets, ["chat-test"]);
  assert.equal(body.retrieval.mode, "full_text");
  assert.equal(body.retrieval.rerank, "late_interaction");
  await page.locator(".answer-foot").waitFor(DONE);
  clean(page);
});

test("the trail says how much each source mattered, and the proof holds it", async () => {
  const page = await chat();
  await ask(page, "What is a deadlock?");
  await page.locator(".answer-foot").waitFor(DONE);
  await page.locator(".source").first().click();
  const bars = page.getByRole("list", { name: "Influence of each source" });
  await bars.waitFor(DONE);
  const sources = await page.locator(".source").count();
  assert.equal(await bars.getByRole("listitem").count(), sources, "a bar for each source");
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText("How much each passage mattered is in the log").waitFor(DONE);
  await accessible(page, "influence");
  clean(page);
});
