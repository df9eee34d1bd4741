// Adapters: refused and accepted uploads with their report, a canary, and rolling back.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { api, browser, clean, open, visit } from "./browser.js";
import { adapterArchive, BASE } from "./fixtures.js";

after(() => browser.close());

async function upload(page, archive, name) {
  await visit(page, "/adapters");
  await page.getByRole("button", { name: "Upload an adapter" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.locator('input[type="file"]').setInputFiles(archive);
  await dialog.getByText(`It fits ${BASE}`).waitFor({ timeout: 60_000 });
  await dialog.getByLabel("Publish under the name").fill(name);
  await dialog.getByRole("button", { name: "Upload and publish" }).click();
  await page.getByRole("heading", { name, level: 1 }).waitFor({ timeout: 60_000 });
}

test("an adapter of another base is refused with the reasons, and cannot be uploaded", async () => {
  const page = await open();
  await visit(page, "/adapters");
  await page.getByRole("button", { name: "Upload an adapter" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.locator('input[type="file"]').setInputFiles(adapterArchive("peft/llama/qv"));
  await dialog.getByText(`It does not fit ${BASE}`).waitFor({ timeout: 60_000 });
  assert.ok((await dialog.getByText("wrong shape").count()) + (await dialog.getByText("not in the base").count()) > 0);
  assert.ok(await dialog.getByRole("button", { name: "Upload", exact: true }).isDisabled());
  clean(page);
});

test("upload twice, try the second on some requests, and roll back to the first", async () => {
  const page = await open();
  await upload(page, adapterArchive("smollm2/adapter"), "support");
  const first = (await api("GET", `/v1/adapters/${BASE}/support`)).generation;
  await page.getByText("There is no other generation").waitFor();
  await upload(page, adapterArchive("smollm2/adapter", 1), "support");
  const second = (await api("GET", `/v1/adapters/${BASE}/support`)).generation;
  assert.notEqual(first, second);

  await page.getByRole("button", { name: "Roll back" }).click();
  await page.getByRole("cell", { name: "rollback now" }).waitFor();
  assert.equal((await api("GET", `/v1/adapters/${BASE}/support`)).generation, first);

  await page.getByRole("slider").focus();
  for (let n = 0; n < 15; n += 1) await page.keyboard.press("ArrowRight");
  await page.getByRole("button", { name: "Start the trial" }).click();
  await page.getByText("takes 25% of requests").waitFor();
  const { canary } = await api("GET", `/v1/adapters/${BASE}/support`);
  assert.deepEqual(canary, { generation: second, percent: 25 });
  await page.getByRole("button", { name: "End it" }).click();
  await page.getByText("takes 25% of requests").waitFor({ state: "detached" });

  // The one that was tried is deleted for good; the one in use cannot be.
  const remove = page.getByRole("button", { name: `Delete ${second.slice(0, 8)}` });
  assert.equal(await page.getByRole("button", { name: `Delete ${first.slice(0, 8)}` }).count(), 0);
  await remove.first().click();
  await page.getByRole("button", { name: "Delete for ever" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("row", { name: second.slice(0, 8) }).getByRole("button", { name: "Publish again" }).first().click();
  await page.getByRole("alert").waitFor();
  assert.equal((await api("GET", `/v1/adapters/${BASE}/support`)).generation, first);

  await page.getByRole("button", { name: "Everyone" }).click();
  await page.getByRole("button", { name: "Everyone", pressed: true }).waitFor();
  assert.equal((await api("GET", `/v1/adapters/${BASE}/support`)).visibility, "public");
  clean(page);
});

test("the adapter can be chatted with, and its answer's record names the generation", async () => {
  const page = await open();
  await visit(page, `/adapters/${BASE}/support`);
  await page.getByRole("link", { name: "Chat with it" }).click();
  await page.getByLabel("Your question").fill("Say hello.");
  await page.keyboard.press("Enter");
  await page.locator(".answer-foot").waitFor({ timeout: 240_000 });
  const [thread] = await page.evaluate(() => JSON.parse(localStorage.getItem("cairn.threads")));
  const { generation } = await api("GET", `/v1/adapters/${BASE}/support`);
  assert.equal(thread.turns[0].answers[0].attribution.adapter_generation, generation);
  clean(page);
});
