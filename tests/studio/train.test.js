// From a file of examples to chatting with the adapter, through a closed tab.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browser, clean, open, visit } from "./browser.js";
import { file } from "./fixtures.js";

after(() => browser.close());

const examples = Array.from({ length: 24 }, (_, row) =>
  JSON.stringify({
    messages: [
      { role: "user", content: `What is number ${row}?` },
      { role: "assistant", content: `Stone ${row}, laid on the cairn.` },
    ],
  }),
).join("\n");

test("a file becomes an adapter that is chatted with, though the tab was closed", async () => {
  let page = await open();
  await visit(page, "/train");
  await page.getByRole("button", { name: "New run" }).click();
  await page.getByLabel("Name of the adapter").fill("stone");
  await page.setInputFiles('input[type="file"]', file("examples.jsonl", examples));
  await page.getByText("examples.jsonl is uploaded").waitFor();
  await page.getByLabel("Method").selectOption("lora");
  await page.getByText("All settings").click();
  for (const [label, value] of [
    ["Rank", "4"],
    ["Steps at most", "6"],
    ["Rows at once", "2"],
    ["Batches a step", "1"],
    ["Longest row", "64"],
  ]) {
    await page.getByLabel(label, { exact: true }).fill(value);
  }
  await page.getByRole("button", { name: "Preview" }).click();
  const sample = page.getByLabel("A rendered row");
  await sample.locator("mark").first().waitFor();
  assert.match(await sample.locator("mark").first().innerText(), /laid on the cairn/);
  await accessible(page, "train");
  await page.getByRole("button", { name: "Start training" }).click();
  await page.waitForURL(/\/train\/ftjob-/);
  const address = new URL(page.url()).pathname.replace(/^\/studio/, "");
  await page.getByText(/Step \d of 6/).waitFor({ timeout: 60_000 });
  clean(page);
  await page.close();

  page = await open();
  await visit(page, address);
  await page.getByRole("heading", { name: "Is it better?" }).waitFor({ timeout: 120_000 });
  await page.getByRole("row", { name: /Perplexity/ }).waitFor();
  await page.getByRole("img", { name: /Training loss by step/ }).waitFor();
  await accessible(page, "train");
  await page.getByRole("link", { name: "Chat with it" }).click();
  await page.getByLabel("Your question").fill("What is number 3?");
  await page.keyboard.press("Enter");
  await page.locator(".answer-foot").waitFor({ timeout: 60_000 });
  clean(page);
});
