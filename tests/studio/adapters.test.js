// Adapters: refused and accepted uploads with their report, a canary, and rolling back.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, api, browser, clean, open, threads, visit } from "./browser.js";
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
  await upload(page, adapterArchive("smollm2/adapter"), "helpdesk");
  const first = (await api("GET", `/v1/adapters/${BASE}/helpdesk`)).generation;
  await page.getByText("There is no other generation").waitFor();
  assert.equal(await page.getByRole("button", { name: "Roll back" }).count(), 0, "there is nothing to roll back to");
  await upload(page, adapterArchive("smollm2/adapter", 1), "helpdesk");
  const second = (await api("GET", `/v1/adapters/${BASE}/helpdesk`)).generation;
  assert.notEqual(first, second);

  await page.getByRole("button", { name: "Roll back…" }).click();
  const asked = page.getByRole("dialog");
  await asked.getByText(first.slice(0, 12)).waitFor();
  await accessible(page, "roll back");
  await asked.getByRole("button", { name: "Cancel" }).click();
  await asked.waitFor({ state: "detached" });
  assert.equal((await api("GET", `/v1/adapters/${BASE}/helpdesk`)).generation, second, "asked about, not done");
  await page.getByRole("button", { name: "Roll back…" }).click();
  await asked.getByRole("button", { name: "Roll back", exact: true }).click();
  await page.getByRole("cell", { name: "rolled back in use" }).waitFor();
  assert.equal((await api("GET", `/v1/adapters/${BASE}/helpdesk`)).generation, first);

  await page.getByRole("slider").focus();
  for (let n = 0; n < 15; n += 1) await page.keyboard.press("ArrowRight");
  await page.getByRole("button", { name: "Start the trial" }).click();
  await page.getByText("takes 25% of requests").waitFor();
  const { canary } = await api("GET", `/v1/adapters/${BASE}/helpdesk`);
  assert.deepEqual(canary, { generation: second, percent: 25 });
  await page.getByRole("button", { name: "End it" }).click();
  await page.getByText("takes 25% of requests").waitFor({ state: "detached" });

  // The one that was tried is deleted for good; the one in use cannot be.
  const remove = page.getByRole("button", { name: `Delete ${second.slice(0, 8)}` });
  assert.equal(await page.getByRole("button", { name: `Delete ${first.slice(0, 8)}` }).count(), 0);
  await remove.first().click();
  await page.getByRole("button", { name: "Delete for ever" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const gone = page.getByRole("region", { name: "History" }).getByRole("row", { name: second.slice(0, 8) });
  await gone.getByText("deleted").waitFor();
  assert.equal(await gone.getByRole("button", { name: "Publish again" }).count(), 0);
  assert.equal((await api("GET", `/v1/adapters/${BASE}/helpdesk`)).generation, first);

  await page.getByRole("button", { name: "Everyone" }).click();
  await page.getByRole("button", { name: "Everyone", pressed: true }).waitFor();
  assert.equal((await api("GET", `/v1/adapters/${BASE}/helpdesk`)).visibility, "public");
  clean(page);
});

test("the adapter can be chatted with, and its answer's record names the generation", async () => {
  const page = await open();
  await visit(page, `/adapters/${BASE}/helpdesk`);
  await page.getByRole("link", { name: "Chat with it" }).click();
  await page.getByLabel("Your question").fill("Say hello.");
  await page.keyboard.press("Enter");
  await page.locator(".answer-foot").waitFor({ timeout: 240_000 });
  const [thread] = await threads(page);
  const { generation } = await api("GET", `/v1/adapters/${BASE}/helpdesk`);
  assert.equal(thread.turns[0].answers[0].attribution.adapter_generation, generation);
  clean(page);
});

test("who may use it, who does, what it learnt from and how it fits are there to be read", async () => {
  const page = await open();
  await visit(page, `/adapters/${BASE}/helpdesk`);
  const use = page.getByRole("region", { name: "The generation in use" });
  await use.getByText("Uploaded; what it learnt from is not on record here").waitFor();
  await use.getByRole("button", { name: "How it fits its base" }).click();
  const report = page.getByRole("dialog");
  await report.getByText(`It fits ${BASE}`).waitFor();
  await accessible(page, "the report");
  await page.keyboard.press("Escape");
  await report.waitFor({ state: "detached" });
  // The administrator asked it in the test before.
  const uses = page.getByRole("region", { name: "Who uses it" }).first();
  await uses.getByRole("cell", { name: "admin", exact: true }).waitFor();

  await page.getByRole("button", { name: "Those granted" }).click();
  await page.getByLabel("Grant it to").fill("some-app");
  await page.getByRole("button", { name: "Grant", exact: true }).click();
  await page.getByText("some-app may use it now").waitFor();
  await page.getByRole("button", { name: "Revoke the grant of some-app" }).waitFor();
  assert.deepEqual((await api("GET", `/v1/adapters/${BASE}/helpdesk/grants`)).data, ["some-app"]);
  await page.getByRole("button", { name: "Revoke the grant of some-app" }).click();
  await page.getByText("some-app may no longer use it").waitFor();
  assert.deepEqual((await api("GET", `/v1/adapters/${BASE}/helpdesk/grants`)).data, []);
  await accessible(page, "an adapter");
  clean(page);
});

test("a generation that is kept without a name is seen, named, and its name taken away again", async () => {
  const page = await open();
  await visit(page, "/adapters");
  await page.getByRole("button", { name: "Upload an adapter" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.locator('input[type="file"]').setInputFiles(adapterArchive("smollm2/adapter", 2));
  await dialog.getByText(`It fits ${BASE}`).waitFor({ timeout: 60_000 });
  await dialog.getByRole("button", { name: "Upload", exact: true }).click();
  await dialog.waitFor({ state: "detached", timeout: 60_000 });
  const kept = page.getByRole("region", { name: "Generations without a name" });
  await kept.waitFor();
  await accessible(page, "generations without a name");
  await kept.getByRole("button", { name: /^Publish / }).first().click();
  await page.getByRole("dialog").getByLabel("Name").fill("named-later");
  await page.getByRole("dialog").getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByRole("link", { name: "named-later" }).click();
  await page.getByRole("heading", { name: "named-later", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Unpublish…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Unpublish", exact: true }).click();
  await page.getByRole("heading", { name: "Adapters", level: 1 }).waitFor();
  await kept.getByRole("button", { name: /^Publish / }).first().waitFor();
  clean(page);
});
