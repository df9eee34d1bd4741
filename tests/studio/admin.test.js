// Administration: roles and limits of keys, how many adapters an owner may store, and who used what.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, api, browser, clean, open, url, visit } from "./browser.js";
import { BASE } from "./fixtures.js";

after(() => browser.close());

const hello = (secret) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify({ model: BASE, max_tokens: 1, messages: [{ role: "user", content: "Hello." }] }),
  });

let made;

test("a key is made with a limit, which holds, and is given another role and no limit", async () => {
  const page = await open();
  await visit(page, "/admin?tab=keys");
  await page.getByRole("button", { name: "New key" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Subject").fill("limited-app");
  await dialog.getByLabel("Requests a minute").fill("1");
  await dialog.getByLabel("Tokens a day").fill("5000");
  await accessible(page, "a new key");
  await dialog.getByRole("button", { name: "Make the key" }).click();
  const secret = await dialog.locator(".secret code").textContent();
  await dialog.getByRole("button", { name: "Done" }).click();
  const row = page.getByRole("row", { name: "limited-app" });
  await row.getByText("1 requests/min, 5,000 tokens/day").waitFor();
  assert.equal((await hello(secret)).status, 200);
  const refused = await hello(secret);
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers.get("retry-after")) > 0);

  await row.getByRole("button", { name: /^Change the key/ }).click();
  await dialog.getByRole("checkbox", { name: /^auditor/ }).click();
  await dialog.getByLabel("Requests a minute").fill("");
  await accessible(page, "a changed key");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  await row.getByText("auditor", { exact: true }).waitFor();
  made = (await api("GET", "/v1/keys")).data.find(({ subject }) => subject === "limited-app");
  assert.deepEqual([...made.roles].sort(), ["app", "auditor"]);
  assert.deepEqual(made.limits, { tokens_per_day: 5000 });
  assert.equal((await hello(secret)).status, 200);
  clean(page);
});

test("the last administrator cannot take the role away from itself", async () => {
  const page = await open();
  await visit(page, "/admin?tab=keys");
  await page.getByRole("row", { name: "admin" }).first().getByRole("button", { name: /of admin$/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("checkbox", { name: /^app/ }).click();
  await dialog.getByRole("checkbox", { name: /^admin/ }).click();
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByRole("alert").getByText("the last valid key of an administrator").waitFor();
  clean(page);
});

test("roles say what they open and who has them", async () => {
  const page = await open();
  await visit(page, "/admin?tab=roles");
  const auditor = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "auditor" }) });
  await auditor.getByText("limited-app").waitFor();
  await auditor.getByText("Read every record, the ledger and the usage").waitFor();
  clean(page);
});

test("limits are seen at a glance, and an owner is given a quota and the default again", async () => {
  const page = await open();
  await visit(page, "/admin?tab=limits");
  const limits = page.getByRole("region", { name: "Keys with limits" }).last();
  await limits.getByRole("row", { name: "limited-app" }).getByText("5,000").waitFor();
  await page.getByRole("button", { name: "Set a quota" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Owner").fill("a-trainer");
  await dialog.getByLabel("Most adapters").fill("3");
  await dialog.getByLabel("Most GiB in all").fill("0.5");
  await accessible(page, "a quota");
  await dialog.getByRole("button", { name: "Set it" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("row", { name: "a-trainer" }).getByText("0 of 3").waitFor();
  const of = async () => (await api("GET", "/v1/adapter_quotas")).data.find(({ owner }) => owner === "a-trainer");
  assert.deepEqual((await of()).limits, { max_generations: 3, max_bytes: 512 * 1024 * 1024 });
  await page.getByRole("button", { name: "Change the quota of a-trainer" }).click();
  await dialog.getByRole("button", { name: "Use the default" }).click();
  await page.getByRole("row", { name: "a-trainer" }).waitFor({ state: "detached" });
  assert.equal(await of(), undefined);
  clean(page);
});

test("usage is added up by subject, model, day and key", async () => {
  const page = await open();
  await visit(page, "/admin?tab=usage");
  const table = page.getByRole("region", { name: "Usage" });
  const row = table.getByRole("row", { name: "limited-app" });
  assert.equal(await row.getByRole("cell").nth(1).textContent(), "2");
  await page.getByRole("button", { name: "By key" }).click();
  await table.getByText(made.id).waitFor();
  await page.getByRole("button", { name: "By model" }).click();
  await table.getByText(BASE, { exact: true }).waitFor();
  await page.getByRole("button", { name: "By day" }).click();
  assert.equal(await table.locator("tbody tr").count(), 1);
  await accessible(page, "usage");
  await page.getByLabel("To", { exact: true }).fill("2020-01-01");
  await page.getByText("Nothing was used in this time").waitFor();
  clean(page);
});
