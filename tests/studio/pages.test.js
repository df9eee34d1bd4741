// What every page keeps: the policy, no request to elsewhere, nothing serious for axe, nothing wider than the window,
// a small first page that is soon there, and the keyboard.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, browser, clean, open, rested, url, visit } from "./browser.js";
import { BASE } from "./fixtures.js";
import { ADAPTER, GLOSSARY, seed } from "./seed.js";

let people;
before(async () => {
  people = await seed();
});
after(() => browser.close());

const TABS = ["browse", "search", "terms", "add", "access", "about"];
const button = (name) => (page) => page.getByRole("button", { name }).first().click();
const dialog = (name) => async (page) => {
  await button(name)(page);
  await page.getByRole("dialog").waitFor();
};

/** Where, as whom (lena, who administers, unless said), and what is done there first. */
const PAGES = [
  { path: "/", who: null },
  { path: "/" },
  { path: "/chat" },
  { path: "/chat", then: button("Settings") },
  { path: "/chat", then: button("Datanets") },
  { path: "/chat", then: dialog("History") },
  // The inbox has cards of requests and of offers.
  { path: "/datanets", then: (page) => page.getByRole("article").nth(1).waitFor() },
  { path: "/datanets?create=true", then: (page) => page.getByRole("dialog").waitFor() },
  { path: "/datanets?tab=mine", who: "otto", then: (page) => page.getByRole("article").nth(2).waitFor() },
  { path: "/datanets?tab=mine" },
  ...TABS.map((tab) => ({ path: `/datanets/${GLOSSARY}?tab=${tab}` })),
  { path: `/datanets/${GLOSSARY}?tab=terms`, then: tryOut },
  { path: `/datanets/${GLOSSARY}?tab=terms`, who: "otto" },
  { path: `/datanets/${GLOSSARY}?tab=add`, who: "otto" },
  { path: `/datanets/${GLOSSARY}?tab=access`, then: decided },
  { path: `/datanets/${GLOSSARY}?tab=access`, then: dialog("Revoke") },
  { path: `/datanets/${GLOSSARY}?tab=browse`, then: dialog(/^Withdraw/) },
  { path: `/datanets/${GLOSSARY}?tab=about`, then: dialog("Delete") },
  { path: "/datanets/field-notes?tab=terms", who: "otto" },
  { path: "/train" },
  { path: "/train/new" },
  { path: "/train/new", then: (page) => page.getByText("All settings").click() },
  { path: "/train/compare" },
  { path: "/adapters" },
  { path: "/adapters", then: dialog("Upload an adapter") },
  { path: `/adapters/${BASE}/${ADAPTER}` },
  { path: `/adapters/${BASE}/${ADAPTER}`, then: dialog("Unpublish") },
  ...["proof", "record", "uses", "log"].map((tab) => ({ path: `/audit?tab=${tab}` })),
  ...["models", "keys", "roles", "limits", "usage", "health"].map((tab) => ({ path: `/admin?tab=${tab}` })),
  { path: "/admin?tab=keys", then: dialog("New key") },
  { path: "/no-such-page" },
];

async function tryOut(page) {
  await page.getByRole("button", { name: "Try them out" }).click();
  await page.getByRole("region", { name: "Who would be granted" }).waitFor();
}

async function decided(page) {
  await page.getByText(/decided request/).click();
  await page.getByRole("article").nth(1).waitFor();
}

for (const [width, height, scheme] of [
  [1440, 900, "light"],
  [1440, 900, "dark"],
  [390, 844, "light"],
  [390, 844, "dark"],
]) {
  test(`every page at ${width} px, ${scheme}`, async () => {
    const signedIn = new Map();
    for (const { path, who = "lena", then } of PAGES) {
      if (!signedIn.has(who)) signedIn.set(who, await open({ width, height, scheme, credential: who && people[who] }));
      const page = signedIn.get(who);
      const name = `${path} ${then ? "(opened) " : ""}as ${who ?? "nobody"}`;
      await page.goto(`${url}/studio${path}`);
      await page.waitForSelector("h1, .empty");
      await page.locator(".skeleton").first().waitFor({ state: "detached" });
      await then?.(page);
      await accessible(page, name);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(over <= 0, `${name} is ${over} px too wide`);
    }
    for (const page of signedIn.values()) clean(page);
  });
}

test("the first page is small", async () => {
  const page = await open();
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await visit(page, "/");
  await page.waitForLoadState("networkidle");
  assert.ok(bytes > 50_000, `${bytes} bytes were counted`);
  assert.ok(bytes < 300_000, `the first page takes ${bytes} bytes`);
  console.log(`first page: ${Math.round(bytes / 1000)} kB over the wire`);
});

for (const [name, credential, ready] of [
  ["signing in", () => null, (page) => page.getByLabel("API key or token").fill("x")],
  // The question can be written, and what is here and running is said.
  ["home", () => people.lena, async (page) => {
    await page.getByLabel("Your question").fill("x");
    await page.getByRole("region", { name: "Running now" }).getByText("Log entries").waitFor();
  }],
]) {
  test(`${name} is usable within a second, in a browser that has been here before`, async () => {
    const page = await open({ credential: credential() });
    await page.goto(`${url}/studio/`);
    await ready(page);
    const all = [];
    for (let n = 0; n < 5; n += 1) {
      const started = performance.now();
      await page.goto(`${url}/studio/`, { waitUntil: "commit" });
      await ready(page);
      all.push(performance.now() - started);
    }
    const median = all.sort((one, other) => one - other)[2];
    console.log(`${name}: usable after ${Math.round(median)} ms, the median of ${all.map(Math.round).join(", ")}`);
    assert.ok(median < 1_000, `${Math.round(median)} ms`);
    clean(page);
  });
}

test("the theme is kept, and chosen over the system's", async () => {
  const page = await open({ scheme: "light" });
  await visit(page, "/");
  await page.locator(".side").getByRole("button", { name: "Theme" }).click();
  await page.getByRole("menuitemradio", { name: "Dark" }).waitFor();
  await rested(page);
  await page.getByRole("menuitemradio", { name: "Dark" }).click();
  const canvas = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await canvas();
  await page.reload();
  await page.waitForSelector("h1");
  assert.equal(await canvas(), dark);
  assert.notEqual(dark, "rgb(250, 250, 248)");
  clean(page);
});

test("the keyboard alone opens a page, a dialog, and leaves it where it was", async () => {
  const page = await open();
  await visit(page, "/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the page");
  await page.getByRole("link", { name: "Datanets" }).first().focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Datanets", level: 1 }).waitFor();
  await page.waitForFunction(() => document.activeElement.id === "main");
  const button = page.getByRole("button", { name: "New datanet" });
  await button.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.waitForFunction(() => document.activeElement.closest("[role=dialog]"));
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.waitForFunction(() => document.activeElement.textContent === "New datanet");
  clean(page);
});

test("a model is unloaded and loaded from the page", async () => {
  const page = await open();
  await visit(page, "/admin");
  const card = page.getByRole("listitem").filter({ hasText: BASE });
  await card.getByRole("button", { name: "Unload" }).click();
  await card.getByText("unloaded", { exact: true }).waitFor();
  await card.getByRole("button", { name: "Load", exact: true }).click();
  await card.getByText("loaded", { exact: true }).waitFor({ timeout: 120_000 });
  clean(page);
});
