// Chat: comparing, stopping, editing, retrying, and what is kept.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, api, browser, clean, open, threads, visit } from "./browser.js";
import { BASE, filledDatanet, uploaded } from "./fixtures.js";

let generation;
before(async () => {
  await filledDatanet("chat-test");
  generation = await uploaded("chat-test");
});
after(() => browser.close());

const DONE = { timeout: 180_000 };
const SETTINGS = "cairn.chat-settings:admin";
const settings = { choices: [{ model: BASE, adapter: null }], datanets: ["chat-test"], maxTokens: 24, temperature: 0 };

async function chat(more = {}) {
  const page = await open();
  await page.addInitScript(
    ([name, kept]) => {
      if (!localStorage.getItem(name)) localStorage.setItem(name, kept);
    },
    [SETTINGS, JSON.stringify({ ...settings, ...more })],
  );
  await visit(page, "/chat");
  return page;
}

async function ask(page, question) {
  await page.getByLabel("Your question").fill(question);
  await page.keyboard.press("Enter");
}

test("a base and its adapter stand side by side, and one of them answers again alone", async () => {
  const page = await chat();
  // Another adapter may stand first in the menu; a model is set beside what it is not.
  await page.getByRole("button", { name: "Compare two side by side" }).click();
  await page.getByRole("button", { name: "Second model" }).click();
  await page.getByRole("menuitemradio", { name: "chat-test" }).click();
  await ask(page, "What is a deadlock?");
  await page.locator(".answer-foot").nth(1).waitFor(DONE);
  const [thread] = await threads(page);
  const [base, adapted] = thread.turns[0].answers;
  assert.notEqual(base.attribution.id, adapted.attribution.id);
  assert.equal(base.attribution.adapter_generation ?? null, null);
  assert.equal(adapted.attribution.adapter_generation, generation);
  const boxes = await Promise.all([0, 1].map((n) => page.locator(".answer").nth(n).boundingBox()));
  assert.ok(boxes[0].x + boxes[0].width <= boxes[1].x, "not side by side");

  await page.getByRole("button", { name: "Answer again with chat-test" }).click();
  await page.locator(".answer").nth(1).and(page.locator('[aria-busy="true"]')).waitFor();
  await page.locator(".answer").nth(1).and(page.locator('[aria-busy="false"]')).waitFor(DONE);
  const [after] = await threads(page);
  assert.equal(after.turns[0].answers[0].attribution.id, base.attribution.id, "the other one was asked again");
  assert.notEqual(after.turns[0].answers[1].attribution.id, adapted.attribution.id);
  assert.equal(after.turns[0].answers[1].attribution.adapter_generation, generation);
  clean(page);
});

test("comparing begins with what differs: an adapter beside a base, a base beside an adapter", async () => {
  const page = await chat({ choices: [{ model: BASE, adapter: "chat-test" }] });
  await page.getByRole("button", { name: "Compare two side by side" }).click();
  const chosen = page.locator(".composer-pick");
  await page.getByRole("button", { name: "Second model" }).waitFor();
  const texts = await chosen.allTextContents();
  assert.match(texts[0], /chat-test/);
  assert.ok(texts[1].includes(BASE), texts[1]);
  clean(page);
});

test("answering an earlier question again asks before it drops what followed", async () => {
  const page = await chat();
  await ask(page, "What is a cairn?");
  await page.locator(".answer-foot").waitFor(DONE);
  await ask(page, "What is a deadlock?");
  await page.locator(".answer-foot").nth(1).waitFor(DONE);
  await page.getByRole("button", { name: "Answer again" }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("1 later question").waitFor();
  await accessible(page, "answer again");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await threads(page))[0].turns.length, 2);
  await page.getByRole("button", { name: "Answer again" }).first().click();
  await dialog.getByRole("button", { name: "Answer again" }).click();
  await page.getByRole("heading", { name: "What is a deadlock?", level: 2 }).waitFor({ state: "detached" });
  await page.locator('.answer[aria-busy="false"]').waitFor(DONE);
  const [thread] = await threads(page);
  assert.equal(thread.turns.length, 1);
  assert.equal(thread.turns[0].question, "What is a cairn?");
  clean(page);
});

test("two tabs keep what each of them asked", async () => {
  const one = await chat();
  const other = await one.context().newPage();
  await visit(other, "/chat");
  await ask(one, "What is a cairn?");
  await one.locator(".answer-foot").waitFor(DONE);
  await ask(other, "What is a B-tree?");
  await other.locator(".answer-foot").waitFor(DONE);
  const titles = async () => (await threads(one)).map(({ title }) => title).sort();
  assert.deepEqual(await titles(), ["What is a B-tree?", "What is a cairn?"]);
  // What one deletes is gone in the other, and does not come back with its next answer.
  await one.getByRole("button", { name: "History" }).click();
  await one.getByRole("button", { name: "Delete “What is a cairn?”" }).click();
  await ask(other, "What is a deadlock?");
  await other.locator(".answer-foot").nth(1).waitFor(DONE);
  assert.deepEqual(await titles(), ["What is a B-tree?"]);
  clean(one);
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
