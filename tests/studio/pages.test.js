// What every page keeps: the policy, no request to elsewhere, nothing serious for axe, nothing wider than the window,
// a small first page, and the keyboard.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, browser, clean, open, url, visit } from "./browser.js";
import { BASE, filledDatanet } from "./fixtures.js";

before(() => filledDatanet("pages-test"));
after(() => browser.close());

const PAGES = [
  "/",
  "/chat",
  "/datanets",
  ...["browse", "search", "add", "access", "about"].map((tab) => `/datanets/pages-test?tab=${tab}`),
  "/train",
  "/train/new",
  "/train/compare",
  "/adapters",
  ...["proof", "record", "uses", "log"].map((tab) => `/audit?tab=${tab}`),
  ...["models", "keys", "roles", "limits", "health", "usage"].map((tab) => `/admin?tab=${tab}`),
  "/no-such-page",
];

for (const [width, height, scheme] of [
  [1440, 900, "light"],
  [1440, 900, "dark"],
  [390, 844, "light"],
  [390, 844, "dark"],
]) {
  test(`every page at ${width} px, ${scheme}`, async () => {
    const page = await open({ width, height, scheme });
    for (const path of PAGES) {
      await page.goto(`${url}/studio${path}`);
      await page.waitForSelector("h1, .empty");
      await page.locator(".skeleton").first().waitFor({ state: "detached" });
      await accessible(page, path);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(over <= 0, `${path} is ${over} px too wide`);
    }
    clean(page);
  });
}

test("the first page is small and soon there", async () => {
  const page = await open();
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  const started = Date.now();
  await visit(page, "/");
  const took = Date.now() - started;
  await page.waitForLoadState("networkidle");
  assert.ok(bytes > 50_000, `${bytes} bytes were counted`);
  assert.ok(bytes < 300_000, `the first page takes ${bytes} bytes`);
  assert.ok(took < 3_000, `the first page took ${took} ms`);
  console.log(`first page: ${Math.round(bytes / 1000)} kB over the wire, heading after ${took} ms`);
});

test("the theme is kept, and chosen over the system's", async () => {
  const page = await open({ scheme: "light" });
  await visit(page, "/");
  await page.locator(".side").getByRole("button", { name: "Theme" }).click();
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
