// Who sees what: roles hide what they may not do, grants open and close datanets, keys end when they are revoked.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, clean, open, visit } from "./browser.js";
import { account, filledDatanet } from "./fixtures.js";

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

  const other = await open({ credential: await account("an-applicant", "app") });
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

test("conversations of one account are not shown to the next", async () => {
  const page = await open();
  const answer = { choice: { model: "m", adapter: null }, state: "done", text: "Nobody knows.", startedAt: 0 };
  const turns = [{ id: "t", question: "A private question", answers: [answer] }];
  const kept = JSON.stringify([{ id: "x", owner: "admin", title: "A private question", updatedAt: 0, turns }]);
  await page.addInitScript((threads) => localStorage.setItem("cairn.threads", threads), kept);
  await visit(page, "/chat");
  await page.getByRole("button", { name: "History" }).click();
  await page.getByRole("button", { name: "A private question", exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key or token").fill(app);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "History" }).click();
  await page.getByText("None yet").waitFor();
  clean(page);
});
