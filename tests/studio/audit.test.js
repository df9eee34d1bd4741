// Auditing: records found by what they are about, taken away with their proofs; the log read entry by entry and compared
// at any two states; and a contributor who sees the uses of what is theirs, and no more.
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { accessible, api, browser, clean, key, open, url, visit } from "./browser.js";
import { account, BASE, filledDatanet } from "./fixtures.js";

const NET = "audit-test";
let cited;
let contributor;

async function ask(content, datanets, credential = key) {
  const messages = [{ role: "user", content }];
  return api("POST", "/v1/chat/completions", { model: BASE, max_tokens: 8, messages, datanets }, credential);
}

/** Contributes a text, has it accepted, and waits until it is in. */
async function contributed(secret, id, text) {
  const form = new FormData();
  form.append("file", new Blob([JSON.stringify({ id, text })]), "it.jsonl");
  const headers = { authorization: `Bearer ${secret}` };
  const path = `${url}/v1/datanets/${NET}/contributions?format=jsonl`;
  const offered = await (await fetch(path, { method: "POST", headers, body: form })).json();
  await api("POST", `/v1/contributions/${offered.id}/review`, { accept: true, reason: "fine" });
  for (let state = ""; state !== "accepted"; ) {
    await new Promise((done) => setTimeout(done, 100));
    ({ state } = await api("GET", `/v1/contributions/${offered.id}`));
  }
}

before(async () => {
  await filledDatanet(NET);
  await api("PUT", `/v1/datanets/${NET}/terms`, { contributions: { from_anyone: "refer" } });
  contributor = await account("a-contributor", "contributor");
  await contributed(contributor, "zorbium", "Zorbium is a blue metal that melts at 412 degrees.");
  cited = await ask("At how many degrees does zorbium melt?", [NET]);
  await ask("Hello there.", []);
});
after(() => browser.close());

test("a record is found by datanet, contributor, model and time, and its proofs are taken away", async () => {
  const page = await open();
  await visit(page, "/audit?tab=record");
  const found = page.getByRole("region", { name: "Records found" });
  await found.getByRole("link", { name: "Hello there." }).first().waitFor();
  await accessible(page, "finding records");
  await page.getByLabel("Datanet", { exact: true }).fill(NET);
  await page.getByLabel("Contributor", { exact: true }).fill("a-contributor");
  await page.getByLabel("Model", { exact: true }).fill(BASE);
  await page.keyboard.press("Enter");
  await found.getByRole("link", { name: "At how many degrees" }).waitFor();
  await found.getByRole("link", { name: "Hello there." }).waitFor({ state: "detached" });
  assert.equal(await found.locator("tbody tr").count(), 1);
  assert.match(page.url(), /datanet=audit-test/);

  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download proofs" }).click();
  const lines = (await readFile(await (await download).path(), "utf8")).trimEnd().split("\n");
  await page.getByText("1 record in it, a proof a line").waitFor();
  assert.equal(lines.length, 1);
  assert.equal(JSON.parse(lines[0]).record.id, cited.id);

  await page.getByLabel("From").fill("2100-01-01");
  await page.getByRole("button", { name: "Find", exact: true }).click();
  await page.getByText("No record fits").waitFor();
  await page.getByRole("button", { name: "Clear" }).click();
  await found.getByRole("link", { name: "At how many degrees" }).click();
  await page.getByRole("heading", { name: "At how many degrees does zorbium melt?" }).waitFor();
  await page.goBack();
  await found.waitFor();
  clean(page);
});

test("the log is read entry by entry, each checked here, and leads to what it is about", async () => {
  const page = await open();
  await visit(page, "/audit?tab=log");
  const entries = page.getByRole("region", { name: "Entries of the log" });
  await entries.getByRole("link", { name: `Answer by ${BASE}, drawing on ${NET}` }).waitFor();
  await accessible(page, "the log");
  await page.getByLabel("Kind").selectOption("contribution");
  await entries.getByText(`A contribution of 1 datapoint to ${NET} was accepted`).waitFor();
  assert.equal(await entries.getByText("Answer by").count(), 0);
  await page.getByLabel("Kind").selectOption("record");
  await entries.getByRole("link", { name: `Answer by ${BASE}, drawing on ${NET}` }).first().click();
  await page.getByRole("heading", { name: "At how many degrees does zorbium melt?" }).waitFor();
  clean(page);
});

test("an entry that the tree does not hold is refused before it is shown", async () => {
  const page = await open();
  await page.route("**/v1/log/tile/entries/**", async (route) => {
    const response = await route.fetch();
    const body = await response.body();
    body[10] ^= 1;
    await route.fulfill({ response, body });
  });
  await visit(page, "/audit?tab=log");
  await page.getByRole("alert").getByText("entry 0 is not the one in the tree").waitFor();
  assert.equal(await page.getByRole("region", { name: "Entries of the log" }).count(), 0);
});

test("any two states of the log are compared, by checkpoint or by size", async () => {
  const page = await open();
  await visit(page, "/audit?tab=log");
  const earlier = page.getByLabel("Earlier checkpoint");
  const later = page.getByLabel("Later checkpoint");
  await earlier.fill("1");
  await later.fill("3");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText("The first 1 entry is unchanged; 2 came after").waitFor();
  await page.getByText("A number of entries is not signed").waitFor();
  await earlier.fill("3");
  await later.fill("1");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("alert").getByText("swap them").waitFor();
  await earlier.fill("1000000");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("alert").getByText("more than there are").waitFor();
  clean(page);
});

test("a contributor sees each use of what is theirs, proved, and neither question nor answer", async () => {
  const page = await open({ credential: contributor });
  await visit(page, "/audit?tab=uses");
  await page.getByRole("tab", { name: "Uses of my data" }).waitFor();
  const uses = page.getByRole("region", { name: "Every use" }).last();
  await uses.getByRole("link", { name: cited.id }).waitFor();
  await accessible(page, "uses of my data");
  await page.getByRole("button", { name: "a-contributor", exact: true }).click();
  await page.getByRole("button", { name: "Check that no use was left out" }).click();
  await page.getByText("The log signed that 1 answer drew on this contributor’s data, and all are listed").waitFor();

  await uses.getByRole("link", { name: cited.id }).click();
  await page.getByRole("heading", { name: "An answer that drew on your data" }).waitFor();
  await page.getByText("Your browser computed the entry’s hash").waitFor();
  await page.getByText("1 passage in the prompt").waitFor();
  await accessible(page, "the public record");
  assert.ok(!(await page.locator("main").textContent()).includes("degrees"));
  clean(page);
});

test("who contributed nothing is told so, and not that there was no use", async () => {
  const page = await open({ credential: await account("a-stranger", "app") });
  await visit(page, "/audit?tab=uses");
  await page.getByText("No answer has drawn on your data yet").waitFor();
  await visit(page, `/audit?tab=record&id=${cited.id}`);
  await page.getByRole("alert").getByText("there is no attribution").waitFor();
  clean(page);
});

/** A log's key, as its line and what signs with it. */
function logKey(origin) {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const blob = Buffer.concat([Buffer.of(1), publicKey.export({ format: "der", type: "spki" }).subarray(-32)]);
  const id = createHash("sha256").update(`${origin}\n`).update(blob).digest("hex").slice(0, 8);
  const signed = (message) => sign(null, Buffer.from(message), privateKey).toString("base64");
  return { line: `${origin}+${id}+${blob.toString("base64")}`, signed };
}

test("a change of the log’s key that the trusted key signed can be kept; one that it did not sign is warned of", async () => {
  // Only what the gateway says of its key is made up here: a key is changed with the gateway stopped.
  const { origin } = await api("GET", "/v1/log/key");
  const [old, next, stranger] = [logKey(origin), logKey(origin), logKey(origin)];
  const time = "2026-11-01T00:00:00.000Z";
  const rotation = (by) => {
    const message = `cairn/rotation/v1\n${origin}\n2\n${old.line}\n${next.line}\n${time}\n`;
    const whole = { type: "cairn/rotation/v1", origin, size: 2, previous: old.line, next: next.line, time };
    return { ...whole, by_previous: by.signed(message), by_next: next.signed(message) };
  };
  const told = async (rotations) => {
    const page = await open();
    await page.addInitScript(
      ([name, line]) => localStorage.getItem(name) ?? localStorage.setItem(name, line),
      [`cairn.log-key:${origin}`, old.line],
    );
    await page.route("**/v1/log/key", (route) => route.fulfill({ json: { origin, key: next.line, rotations } }));
    await visit(page, "/audit");
    return page;
  };
  for (const rotations of [[], [rotation(stranger)]]) {
    const page = await told(rotations);
    await page.getByRole("alert").getByText("nothing that key signed leads to it").waitFor();
    assert.equal(await page.getByRole("button", { name: "Keep the new key" }).count(), 0);
  }
  const page = await told([rotation(old)]);
  await page.getByText("The log changed its key at entry 2").waitFor();
  await accessible(page, "a change of key");
  const kept = () => page.evaluate((name) => localStorage.getItem(name), `cairn.log-key:${origin}`);
  assert.equal(await kept(), old.line, "kept until the reader says otherwise");
  await page.getByRole("button", { name: "Keep the new key" }).click();
  await page.getByText("The log changed its key").waitFor({ state: "detached" });
  assert.equal(await kept(), next.line);
  clean(page);
});
