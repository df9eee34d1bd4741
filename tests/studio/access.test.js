// Who sees what: roles hide what they may not do, grants open and close datanets, keys end when they are revoked.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { accessible, api, browser, clean, key, open, threads, url, visit } from "./browser.js";
import { account, file, filledDatanet, lines } from "./fixtures.js";

let app;
before(async () => {
  await filledDatanet("secret");
  app = await account("some-app", "app");
});
after(() => browser.close());

const places = (page) => page.locator(".side").getByRole("navigation", { name: "Pages" }).getByRole("link").allTextContents();

test("an application is offered what it may do, and the gateway refuses the rest", async () => {
  const page = await open({ credential: app });
  await visit(page, "/datanets");
  assert.deepEqual(await places(page), ["Home", "Chat", "Datanets", "Adapters", "Audit"]);
  await page.getByText("None of yours").waitFor();
  assert.equal(await page.getByRole("button", { name: "New datanet" }).count(), 0);
  await visit(page, "/datanets/secret");
  await page.getByRole("alert").getByText("secret").waitFor();
  await visit(page, "/admin");
  await page.getByRole("alert").getByText("may not do this").waitFor();
  clean(page);
});

test("an auditor reads the metrics, and neither asks nor changes", async () => {
  const page = await open({ credential: await account("an-auditor", "auditor") });
  await visit(page, "/admin");
  assert.deepEqual(await places(page), ["Home", "Datanets", "Audit", "Admin"]);
  assert.deepEqual(await page.getByRole("tab").allTextContents(), ["Health", "Usage"]);
  await page.getByText("Tokens read").waitFor();
  clean(page);
});

test("a grant opens a datanet to another account, and taking it back closes it", async () => {
  const owner = await open();
  await visit(owner, "/datanets/secret?tab=access");
  await owner.getByText("Nobody holds a grant").waitFor();
  await owner.getByLabel("Let someone retrieve").fill("some-app");
  await owner.getByRole("button", { name: "Grant", exact: true }).click();
  await owner.getByRole("cell", { name: "some-app" }).waitFor();
  await owner.getByRole("cell", { name: "retrieval", exact: true }).waitFor();
  // Training is another purpose, and granted as such.
  await owner.getByLabel("Let someone retrieve").fill("some-app");
  await owner.getByLabel("For", { exact: true }).selectOption("training");
  await owner.getByRole("button", { name: "Grant", exact: true }).click();
  await owner.getByRole("cell", { name: "retrieval, training" }).waitFor();

  const other = await open({ credential: app });
  await visit(other, "/datanets");
  await other.getByRole("link", { name: "Test of secret" }).click();
  await other.getByText("A cairn is a heap of stones").waitFor();
  assert.deepEqual(await other.getByRole("tab").allTextContents(), ["Browse", "Search", "Terms", "Contribute", "About"]);

  await owner.getByRole("button", { name: "Revoke" }).click();
  await owner.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await owner.getByRole("button", { name: "Revoke" }).waitFor({ state: "detached" });
  await visit(other, "/datanets");
  await other.getByText("None of yours").waitFor();
  clean(owner);
  clean(other);
});

test("a grant has rows, an end and a quota where its owner says so, and its holder sees them", async () => {
  const owner = await open();
  await visit(owner, "/datanets/secret?tab=access");
  await owner.getByLabel("Let someone retrieve").fill("some-app");
  await owner.getByText("Limit it").click();
  await owner.getByLabel("Only these rows").fill('metadata.title = "cairn"');
  await owner.getByLabel("For how many days").fill("30");
  await owner.getByLabel("Retrievals a day").fill("5");
  await accessible(owner, "limits of a grant");
  await owner.getByRole("button", { name: "Grant", exact: true }).click();
  await owner.getByText("5 retrievals a day at most").waitFor();
  const { data } = await api("GET", "/v1/datanets/secret/grants");
  const given = data.find(({ in_force }) => in_force);
  assert.equal(given.rows, 'metadata.title = "cairn"');
  assert.equal(given.retrievals_per_day, 5);
  assert.equal(Math.round((Date.parse(given.expires_at) - Date.parse(given.granted_at)) / 86_400_000), 30);

  const holder = await open({ credential: app });
  await visit(holder, "/datanets/secret");
  await holder.getByText("A cairn is a heap of stones").waitFor();
  assert.equal(await holder.getByText("A B-tree is a balanced tree").count(), 0);
  await visit(holder, "/datanets");
  await holder.getByRole("tab", { name: "My access" }).click();
  await holder.getByText("5 retrievals a day at most").waitFor();
  await holder.getByText("in force").waitFor();
  await accessible(holder, "my access");

  await owner.getByRole("button", { name: "Revoke" }).click();
  await owner.getByRole("dialog").getByLabel("Reason").fill("The project is over.");
  await owner.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await owner.getByRole("button", { name: "Revoke" }).waitFor({ state: "detached" });
  await holder.reload();
  await holder.getByText("The project is over.").waitFor();
  clean(owner);
  clean(holder);
});

test("terms are tried out and published; who asks is granted by them, or referred and approved", async () => {
  const owner = await open();
  await visit(owner, "/datanets/secret?tab=terms");
  await owner.getByText("No terms are published").waitFor();
  await owner.getByLabel("Users: company").selectOption("deny");
  await owner.getByRole("button", { name: "Add an affirmation" }).click();
  await owner.getByLabel("Affirmation 1", { exact: true }).fill("I take care.");
  await owner.getByRole("button", { name: "Try them out" }).click();
  await owner.getByText("not open to users of kind company").first().waitFor();
  await owner.getByRole("button", { name: "Publish" }).click();
  await owner.getByRole("heading", { name: "The terms, version 1" }).waitFor();

  const applicant = await account("an-applicant", "app");
  const other = await open({ credential: applicant });
  await visit(other, "/datanets");
  await other.getByText("ask for it").waitFor();
  await other.getByRole("link", { name: "Test of secret" }).click();
  await other.getByRole("heading", { name: "Ask for access" }).waitFor();
  await other.getByRole("button", { name: "Ask", exact: true }).click();
  await other.getByText("not affirmed: affirmation-1").waitFor();
  await other.getByRole("checkbox", { name: "I affirm" }).click();
  await other.getByRole("button", { name: "Ask", exact: true }).click();
  // It says so, and the datanet is open.
  await other.getByText("Granted. You can use secret now").waitFor();
  await other.getByRole("link", { name: "Browse", exact: true }).click();
  await other.getByText("A cairn is a heap of stones").waitFor();

  // Training is decided by people: the owner, where the terms name nobody else.
  await other.getByRole("tab", { name: "Terms" }).click();
  await other.getByRole("checkbox", { name: "training" }).click();
  await other.getByRole("checkbox", { name: "I affirm" }).click();
  await other.getByRole("button", { name: "Ask", exact: true }).click();
  await other.getByText("People decide this one").waitFor();
  // Over all datanets, with the day and the time until which they have.
  const mine = await open({ credential: applicant });
  await visit(mine, "/datanets?tab=mine");
  const request = mine.getByRole("article", { name: "Request of an-applicant" }).filter({ hasText: "waiting" });
  await request.getByText(/until .*\d\d:\d\d/).waitFor();
  await request.getByRole("link", { name: "secret" }).waitFor();
  await accessible(mine, "my requests");
  await mine.close();
  await visit(owner, "/datanets");
  const waiting = owner.getByRole("article", { name: "Request of an-applicant" });
  await waiting.getByRole("button", { name: "Approve" }).click();
  await waiting.waitFor({ state: "detached" });
  await visit(owner, "/datanets/secret?tab=access");
  await owner.getByText("2 granted, 1 denied, 0 waiting").waitFor();
  await visit(other, "/datanets/secret?tab=terms");
  await other.getByText("Decided by review").waitFor();

  // What people deny can be put before others, with a word to them.
  await other.getByRole("checkbox", { name: "It serves a commercial end" }).click();
  await other.getByRole("checkbox", { name: "I affirm" }).click();
  await other.getByRole("button", { name: "Ask", exact: true }).click();
  await other.getByText("People decide this one").waitFor();
  await visit(owner, "/datanets");
  await waiting.getByLabel("Reason").fill("Not for sale.");
  await waiting.getByRole("button", { name: "Deny" }).click();
  await waiting.waitFor({ state: "detached" });
  await visit(other, "/datanets/secret?tab=terms");
  await other.getByText("said no: Not for sale.").waitFor();
  await other.getByRole("button", { name: "Appeal to other reviewers" }).click();
  await other.getByLabel("What they should know").fill("It is a charity shop.");
  await other.getByRole("button", { name: "Appeal", exact: true }).click();
  await other.getByText("It is a charity shop.").first().waitFor();
  await other.getByText("Nobody is left who may decide").waitFor();
  clean(owner);
  clean(other);
});

test("who asks may ask for less: some days, some rows", async () => {
  const page = await open({ credential: await account("a-modest-one", "app") });
  await visit(page, "/datanets/secret?tab=terms");
  await page.getByText("Ask for less").click();
  await page.getByLabel("For how many days").fill("7");
  await page.getByLabel("Only these rows").fill('metadata.title = "cairn"');
  await page.getByRole("checkbox", { name: "I affirm" }).click();
  await accessible(page, "asking");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.getByText("Granted. You can use secret now").waitFor();
  const own = (await api("GET", "/v1/datanets/secret/grants")).data.find(({ subject }) => subject === "a-modest-one");
  assert.equal(own.rows, 'metadata.title = "cairn"');
  assert.equal(Math.round((Date.parse(own.expires_at) - Date.parse(own.granted_at)) / 86_400_000), 7);
  clean(page);
});

test("who is away names a delegate, and comes back", async () => {
  const page = await open({ credential: app });
  await visit(page, "/datanets?tab=mine");
  await page.getByLabel("Who decides for me").fill("a-deputy");
  await page.getByLabel("Until").fill("2099-12-31T18:00");
  await page.getByRole("button", { name: "Let them decide" }).click();
  await page.getByText("a-deputy decides for you until").waitFor();
  assert.equal((await api("GET", "/v1/absence", undefined, app)).absence.delegate, "a-deputy");
  await page.getByRole("button", { name: "I am back" }).click();
  await page.getByLabel("Who decides for me").waitFor();
  assert.equal((await api("GET", "/v1/absence", undefined, app)).absence, null);
  clean(page);
});

test("an offer is sent with a word, taken back, sent anew, seen in the owner's inbox and accepted", async () => {
  const credential = await account("a-contributor", "contributor");
  const page = await open({ credential });
  await visit(page, "/datanets/secret?tab=add");
  const more = JSON.stringify({ id: "moth", text: "A moth was found in a relay.", contributor: "Grace Hopper" });
  const offer = async (name) => {
    await page.setInputFiles('input[type="file"]', file(name, more));
    await page.getByText("1 datapoint: 1 new").waitFor();
    await page.getByLabel("A word to its owner").fill("From the logbook.");
  };
  await offer("moth.jsonl");
  await page.getByRole("button", { name: "Offer to secret" }).click();
  await page.getByText("Sent. admin looks at moth.jsonl next").waitFor();
  const sent = page.getByRole("article", { name: "Contribution moth.jsonl" });
  await sent.getByText("From the logbook.").waitFor();
  await accessible(page, "offered");
  await sent.getByRole("button", { name: "Take it back" }).click();
  await sent.getByText("withdrawn").waitFor();

  await offer("moth-2.jsonl");
  await page.getByLabel("A new version of").selectOption({ index: 1 });
  await page.getByRole("button", { name: "Offer to secret" }).click();
  await page.getByText("Sent. admin looks at moth-2.jsonl next").waitFor();

  const owner = await open();
  await visit(owner, "/datanets");
  const inbox = owner.getByRole("region", { name: "For you to decide" });
  const waits = inbox.getByRole("article", { name: "Contribution moth-2.jsonl of a-contributor" });
  await waits.getByText("It is a new version of an earlier one").waitFor();
  await accessible(owner, "inbox");
  await waits.getByRole("button", { name: "Accept" }).click();
  await waits.waitFor({ state: "detached" });
  await visit(page, "/datanets?tab=mine");
  const mine = page.getByRole("article", { name: "Contribution moth-2.jsonl" });
  await mine.getByText("accepted", { exact: true }).waitFor({ timeout: 60_000 });
  clean(owner);
  clean(page);
});

test("contributors are counted, each with the way to every use; a state is exported with its proofs", async () => {
  const page = await open();
  await visit(page, "/datanets/secret?tab=about");
  const row = page.getByRole("region", { name: "Contributors" }).getByRole("row", { name: "Ada Lovelace" });
  assert.equal(await row.getByRole("cell").nth(1).textContent(), "4");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export version 1" }).click();
  const exported = (await readFile(await (await download).path())).toString("utf8").trim().split("\n");
  // The first line is the state, with its place in the log.
  assert.equal(exported.length, 1 + lines.split("\n").length);
  assert.ok(exported.every((line) => JSON.parse(line)));
  await accessible(page, "about");
  await row.getByRole("link", { name: "Every use" }).click();
  await page.getByRole("heading", { name: "Audit", level: 1 }).waitFor();
  assert.equal(await page.getByLabel("Contributor", { exact: true }).inputValue(), "Ada Lovelace");
  assert.equal(await page.getByLabel("Datanet", { exact: true }).inputValue(), "secret");
  clean(page);
});

test("a key is made once, works, and ends when it is revoked", async () => {
  const admin = await open();
  await visit(admin, "/admin?tab=keys");
  await admin.getByRole("button", { name: "New key" }).click();
  await admin.getByLabel("Subject").fill("short-lived");
  await admin.getByRole("button", { name: "Make the key" }).click();
  const secret = await admin.locator(".secret code").textContent();
  await admin.getByRole("button", { name: "Done" }).click();

  const page = await open({ credential: secret });
  await visit(page, "/");
  await page.locator(".side").getByText("short-lived").waitFor();

  const row = admin.getByRole("row", { name: "short-lived" });
  await row.getByRole("button", { name: "Revoke" }).click();
  await admin.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await row.getByText("revoked").waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  clean(admin);
});

test("conversations of one account are not shown to the next, and can be deleted", async () => {
  const page = await open();
  const answer = { choice: { model: "m", adapter: null }, state: "done", text: "Nobody knows.", startedAt: 0 };
  const turns = [{ id: "t", question: "A private question", answers: [answer] }];
  // As they were kept before each account had its own.
  const kept = JSON.stringify([{ id: "x", owner: "admin", title: "A private question", updatedAt: 0, turns }]);
  await page.goto(`${url}/studio/icon.svg`);
  await page.evaluate((all) => localStorage.setItem("cairn.threads", all), kept);
  await visit(page, "/chat");
  await page.getByRole("button", { name: "History" }).click();
  await page.getByRole("button", { name: "A private question", exact: true }).waitFor();
  await page.getByText("they stay when you sign out").waitFor();
  assert.equal(await page.evaluate(() => localStorage.getItem("cairn.threads")), null);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key or token").fill(app);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "History" }).click();
  await page.getByText("None yet").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key or token").fill(key);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "History" }).click();
  await page.getByRole("button", { name: "Delete all" }).click();
  await page.getByRole("dialog", { name: "Delete all conversations?" }).getByRole("button", { name: "Delete all" }).click();
  await page.getByRole("button", { name: "History" }).click();
  await page.getByText("None yet").waitFor();
  assert.deepEqual(await threads(page), []);
  clean(page);
});
