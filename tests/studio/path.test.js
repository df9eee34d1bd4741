// The newcomer's path: sign in, make a datanet, add a file, ask, follow a citation to its contributor, verify it in the
// browser; then spoil the proof and see what fails.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { accessible, api, browser, clean, key, open, threads, url, visit } from "./browser.js";
import { account, CONTRIBUTOR, file, filledDatanet, lines } from "./fixtures.js";

after(() => browser.close());

test("a wrong key is refused in the gateway's words, the right one opens the studio", async () => {
  const page = await open({ credential: null });
  await page.goto(`${url}/studio/`);
  await page.getByLabel("API key or token").fill("cairn_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("unknown, expired or revoked").waitFor();
  await page.getByLabel("API key or token").fill(key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.getItem("cairn.credential")), null, "kept without being asked to");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.getItem("cairn.credential")), null);
  clean(page);
});

/** A golden file of the proofs' crate, as text. */
const golden = (name) => readFile(new URL(`../../index/proof/tests/golden/${name}`, import.meta.url), "utf8");

let answered;
let proof;

test("a newcomer gets from signing in to a cited answer within a minute", async () => {
  const newcomer = await account("a-newcomer", "steward");
  const page = await open({ credential: null });
  const started = Date.now();
  await page.goto(`${url}/studio/`);
  await page.getByLabel("API key or token").fill(newcomer);
  await page.keyboard.press("Enter");
  // Each step is a button of the page before it.
  await page.getByRole("link", { name: "Create a datanet" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("first-steps");
  await dialog.getByRole("button", { name: "Create", exact: true }).click();
  await page.setInputFiles('input[type="file"]', file("mine.jsonl", lines));
  await page.getByRole("button", { name: "Add to first-steps" }).click();
  await page.getByRole("link", { name: "Ask it something" }).click();
  await page.getByLabel("Your question").fill("What is a hash table?");
  await page.keyboard.press("Enter");
  await page.locator(".answer-text .chip").first().waitFor({ timeout: 60_000 });
  const took = (Date.now() - started) / 1000;
  console.log(`from signing in to a cited answer: ${took.toFixed(1)} s`);
  assert.ok(took < 60, `it took ${took} s`);
  await page.locator(".answer-text .chip").first().click();
  await page.getByRole("region", { name: /^Source/ }).getByText(CONTRIBUTOR).waitFor();
  clean(page);
});

test("from an empty datanet to a verified citation", async () => {
  const page = await open();
  await visit(page, "/datanets");
  await page.getByRole("button", { name: "New datanet" }).first().click();
  await page.getByLabel("Name").fill("Trees");
  await page.getByText("Begin with a small letter").waitFor();
  await page.getByLabel("Name").fill("trees");
  await page.getByLabel("Title").fill("Trees and tables");
  await page.getByLabel("Licence").fill("CC0-1.0");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.getByRole("heading", { name: "Trees and tables", level: 1 }).waitFor();

  await page.setInputFiles('input[type="file"]', file("trees.jsonl", lines));
  await page.getByText("A hash table is a data structure").first().waitFor();
  await page.getByRole("button", { name: "Add to trees" }).click();
  await page.getByText("4 datapoints added of 4 read").waitFor({ timeout: 60_000 });

  await page.getByRole("tab", { name: "Search" }).click();
  await page.getByRole("searchbox").fill("stones on a path");
  await page.keyboard.press("Enter");
  await page.getByRole("list", { name: "Results" }).getByText("A cairn is a heap of stones").waitFor();

  await page.getByRole("link", { name: "Ask it" }).click();
  await page.getByLabel("Your question").fill("What is a hash table?");
  await page.keyboard.press("Enter");
  await page.getByText("What is stopped has no record").or(page.locator(".answer-foot")).waitFor({ timeout: 180_000 });
  const [thread] = await threads(page);
  answered = thread.turns[0].answers[0];
  assert.equal(answered.state, "done", answered.error);

  // What is shown is what the gateway recorded.
  const record = await api("GET", `/v1/attributions/${answered.attribution.id}`);
  assert.deepEqual(answered.attribution.citations, record.attribution.citations);
  const cited = new Set(record.attribution.citations.map(({ n }) => n));
  const chips = new Set((await page.locator(".answer-text .chip").allTextContents()).map(Number));
  assert.deepEqual([...chips].sort(), [...cited].sort());
  assert.ok(record.attribution.datapoints.length > 0);

  await page.locator(".source").first().click();
  const trail = page.getByRole("region", { name: "Source 1" });
  const [first] = record.attribution.datapoints;
  await trail.getByText(CONTRIBUTOR).waitFor();
  await trail.getByText("CC0-1.0").waitFor();
  assert.equal(await trail.locator(".trail-text").textContent(), first.text);
  assert.ok(await trail.getByText(first.why.fused_score.toFixed(2)).first().isVisible());
  await trail.getByText("Everything that was considered").click();
  await trail.getByText(`${record.attribution.candidates.length} candidates`).waitFor();
  await trail.getByText(`Record ${record.attribution.receipt.index} of the log`).waitFor();
  // What stands before the datapoint, and after the checkpoint.
  await trail.getByText("As its owner").waitFor();
  await trail.getByText("No witness").waitFor();
  await trail.getByText("On no blockchain").waitFor();

  const download = page.waitForEvent("download");
  await trail.getByRole("button", { name: "Download proof" }).click();
  proof = await readFile(await (await download).path());
  await trail.getByRole("button", { name: "Verify" }).click();
  await trail.locator('[data-verdict="proved"]').waitFor({ timeout: 30_000 });
  assert.equal(await trail.locator('.verify-step[data-status="failed"]').count(), 0);
  // It says whose word the key is taken on.
  await trail.locator(".verify-verdict", { hasText: "the key that this gateway gave this browser on" }).waitFor();
  assert.ok((await trail.locator('.verify-step[data-status="passed"]').count()) >= 10);
  clean(page);
});

test("a proof verifies from its file with the network off; a spoiled one names what fails", async () => {
  const page = await open();
  await visit(page, "/audit");
  await page.getByText("the log’s key that this browser knows is used").waitFor();
  await page.context().setOffline(true);
  await page.getByLabel("Proof bundle").setInputFiles(file("answer.cairn.json", proof));
  await page.locator('[data-verdict="proved"]').waitFor({ timeout: 30_000 });

  const text = proof.toString("utf8");
  assert.ok(text.includes(CONTRIBUTOR));
  await page
    .getByLabel("Proof bundle")
    .setInputFiles(file("spoiled.cairn.json", text.replace(CONTRIBUTOR, "Eve Lovelace")));
  await page.locator('[data-verdict="failed"]').waitFor({ timeout: 30_000 });
  const failed = page.locator('.verify-step[data-status="failed"]');
  assert.equal(await failed.count(), 1);
  assert.match(await failed.getAttribute("data-step"), /contributor/);
  await page.context().setOffline(false);
});

test("a key from elsewhere is pinned and named, and another log's is refused", async () => {
  const page = await open();
  await visit(page, `/audit?tab=record&id=${answered.attribution.id}`);
  const trail = page.getByRole("region", { name: "Source 1" });
  await trail.getByRole("button", { name: "Pin a key from elsewhere" }).click();
  const dialog = page.getByRole("dialog");
  await accessible(page, "pin a key");
  await dialog.getByLabel("Public key of the log").fill(await golden("cairn.pub"));
  await dialog.getByRole("button", { name: "Pin it" }).click();
  await dialog.getByRole("alert").getByText("it is the key of").waitFor();
  const { key: own } = await api("GET", "/v1/log/key");
  await dialog.getByLabel("Public key of the log").fill(own);
  await dialog.getByRole("button", { name: "Pin it" }).click();
  await trail.getByText("the key that you pinned on").waitFor();
  await trail.getByRole("button", { name: "Verify" }).click();
  await trail.locator('.verify-verdict[data-verdict="proved"]', { hasText: "with the key that you pinned" }).waitFor();
  // A copied hash is said aloud.
  await trail.getByRole("button", { name: "Copy leaf hash of the datapoint" }).click();
  await page.getByRole("status").filter({ hasText: "leaf hash of the datapoint: copied" }).waitFor();
  clean(page);
});

test("an anchor is checked in the browser against the block that the reader names", async () => {
  const page = await open();
  await visit(page, "/audit");
  await page.getByLabel("Proof bundle").setInputFiles(file("anchored.cairn.json", await golden("anchored.json")));
  await page.getByLabel("Public key of the log").setInputFiles(file("cairn.pub", await golden("cairn.pub")));
  const step = page.locator('[data-step="log.anchor"]');
  await page.locator('.verify-verdict[data-verdict="proved"]', { hasText: "yet to be confirmed" }).waitFor({ timeout: 30_000 });
  assert.equal(await step.getAttribute("data-status"), "unconfirmed");
  await accessible(page, "an anchor");
  const hash = page.getByLabel("Hash of the block");
  await hash.fill("0x12");
  await page.getByRole("button", { name: "Check against it" }).click();
  await page.getByRole("alert").filter({ hasText: "64 hexadecimal digits" }).waitFor();
  await hash.fill(JSON.parse(await golden("anchored.json")).log.anchor.anchor.event.block_hash);
  await page.getByRole("button", { name: "Check against it" }).click();
  await page.locator('.verify-verdict[data-verdict="proved"]', { hasText: "All" }).waitFor({ timeout: 30_000 });
  assert.equal(await step.getAttribute("data-status"), "passed");
  await page.getByRole("button", { name: "Check without it" }).click();
  await hash.fill("0".repeat(64));
  await page.getByRole("button", { name: "Check against it" }).click();
  await page.locator('.verify-verdict[data-verdict="failed"]').waitFor({ timeout: 30_000 });
  assert.equal(await step.getAttribute("data-status"), "failed");
  clean(page);
});

test("the log is seen to have only grown, and a rewritten past is refused", async () => {
  const page = await open();
  await visit(page, "/audit?tab=log");
  const earlier = page.getByLabel("Earlier checkpoint");
  await earlier.waitFor();
  const first = await page.locator(".note-text").textContent();
  await filledDatanet("grown");
  await page.reload();
  await earlier.waitFor();
  assert.equal(await earlier.inputValue(), first);
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText(/The first \d+ entr.* unchanged; \d+ came after/).waitFor();
  const [origin, size, root, ...rest] = first.split("\n");
  await earlier.fill([origin, String(Number(size) + 1), root, ...rest].join("\n"));
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("alert").getByText("the signature on the checkpoint").waitFor();
  clean(page);
});

test("the record is found by its id, with its question and its trail", async () => {
  const page = await open();
  await visit(page, "/audit?tab=record");
  await page.getByLabel("Id of the answer").fill("chatcmpl-none");
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByRole("alert").getByText("there is no attribution").waitFor();
  await page.getByLabel("Id of the answer").fill(answered.attribution.id);
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByRole("heading", { name: "What is a hash table?" }).waitFor();
  await page.getByRole("region", { name: "Source 1" }).getByRole("definition").getByText(CONTRIBUTOR).waitFor();
  clean(page);
});

test("a file with a bad row is refused as a whole, and the row is named", async () => {
  const page = await open();
  await visit(page, "/datanets/trees?tab=add");
  // More than a screenful, and each of them is named.
  const bad = Array.from({ length: 30 }, (_, n) => `{"id": "bad-${n}"}`).join("\n");
  await page.setInputFiles('input[type="file"]', file("bad.jsonl", `${lines}\n${bad}`));
  await page.getByText("30 datapoints to mend").waitFor();
  assert.equal(await page.getByRole("list", { name: "Rows to mend" }).getByRole("listitem").count(), 30);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download the list" }).click();
  const csv = (await readFile(await (await download).path())).toString("utf8").trim().split("\r\n");
  assert.equal(csv[0], "line,reason");
  assert.deepEqual(csv.slice(1).map((line) => Number(line.split(",")[0])), Array.from({ length: 30 }, (_, n) => n + 5));
  await page.getByRole("button", { name: "Add to trees" }).click();
  await page.getByRole("alert").getByText("line 5").waitFor({ timeout: 60_000 });
  assert.equal((await api("GET", "/v1/datanets/trees")).snapshot.size, 4);
  clean(page);
});

test("a table with other column names is mapped, and read as its owner meant", async () => {
  const page = await open();
  await visit(page, "/datanets/trees?tab=add");
  const csv = 'Author,Body,Topic\nGrace Hopper,"A moth, found in a relay",bugs\n';
  await page.setInputFiles('input[type="file"]', file("my notes (1).csv", csv, "text/csv"));
  await page.getByLabel("Text", { exact: true }).waitFor();
  assert.equal(await page.getByLabel("Text", { exact: true }).inputValue(), "Body");
  await page.getByText("contributor: Grace Hopper").waitFor();
  await page.getByRole("button", { name: "Add to trees" }).click();
  await page.getByText("1 datapoint added of 1 read").waitFor({ timeout: 60_000 });
  const { data } = await api("GET", "/v1/datanets/trees/datapoints?after=4");
  assert.equal(data[0].text, "A moth, found in a relay");
  assert.equal(data[0].contributor, "Grace Hopper");
  assert.deepEqual(data[0].metadata, { Topic: "bugs", file: "my-notes--1-.csv", line: 2 });
  clean(page);
});

test("a PDF is dropped, looked at, and cited by its page", async () => {
  const page = await open();
  await visit(page, "/datanets/trees?tab=add");
  await page.setInputFiles('input[type="file"]', new URL("../documents/handbook.pdf", import.meta.url).pathname);
  await page.getByRole("list", { name: "The first datapoints" }).getByText("thirty-four days").waitFor({ timeout: 60_000 });
  await page.getByLabel("Contributor", { exact: true }).fill("Edda Marsh");
  await page.getByText("contributor: Edda Marsh").first().waitFor();
  await accessible(page, "add a PDF");
  const { size } = (await api("GET", "/v1/datanets/trees")).snapshot;
  await page.getByRole("button", { name: "Add to trees" }).click();
  await page.getByText(/datapoints? added of/).waitFor({ timeout: 60_000 });
  const { data } = await api("GET", `/v1/datanets/trees/datapoints?after=${size}`);
  assert.equal(data[0].metadata.page, 1);
  assert.equal(data[0].metadata.file, "handbook.pdf");
  assert.equal(data[0].contributor, "Edda Marsh");
  clean(page);
});

test("every use of a contributor's data leads to its record, and can be taken away as a file", async () => {
  const page = await open();
  await visit(page, "/audit?tab=uses");
  await page.getByLabel("Contributor", { exact: true }).fill(CONTRIBUTOR);
  const uses = page.getByRole("region", { name: "Every use" });
  await uses.getByRole("link", { name: answered.attribution.id }).waitFor();
  await accessible(page, "ledger");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download CSV" }).click();
  const csv = (await readFile(await (await download).path())).toString("utf8");
  assert.ok(csv.startsWith("at,answer,") && csv.includes(answered.attribution.id), csv);
  await page.getByLabel("From").fill("2100-01-01");
  await page.getByText("No use in this period").waitFor();
  await page.getByLabel("From").fill("");
  await uses.getByRole("link", { name: answered.attribution.id }).click();
  await page.getByText("Everything that was considered").waitFor();
  clean(page);
});

test("what is withdrawn is gone, and it is said what cannot be undone", async () => {
  const page = await open();
  const { data } = await api("GET", "/v1/datanets/trees/datapoints");
  const gone = data.find(({ contributor }) => contributor === "Grace Hopper");
  await visit(page, "/datanets/trees?tab=browse");
  await page.getByRole("button", { name: `Withdraw ${gone.id}` }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Nobody can bring it back").waitFor();
  await accessible(page, "withdraw");
  await dialog.getByRole("button", { name: "Withdraw for ever" }).click();
  await page.getByText("1 datapoint withdrawn from trees").waitFor({ timeout: 60_000 });
  await page.getByText("No adapter was trained on it").waitFor();
  await page.getByText("A moth, found in a relay").waitFor({ state: "detached" });
  const left = (await api("GET", "/v1/datanets/trees/datapoints")).data;
  assert.ok(left.every(({ id }) => id !== gone.id));
  clean(page);
});
