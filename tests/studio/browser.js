// What the tests and the screenshots share: a browser, a page that is signed in, and the rules that every page keeps.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const url = required("CAIRN_STUDIO_URL").replace(/\/$/, "");
export const key = required("CAIRN_STUDIO_KEY");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}; tests/studio/run does`);
  return value;
}

export const browser = await chromium.launch({
  executablePath: process.env.CAIRN_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

/** A page whose every request, console error and exception is watched. `credential: null` = signed out; `also` = another origin
 *  that the browser may go to. */
export async function open({ credential = key, width = 1440, height = 900, scheme = "light", also } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    permissions: ["clipboard-read", "clipboard-write"],
    acceptDownloads: true,
  });
  if (credential) {
    await context.addInitScript((secret) => {
      if (!sessionStorage.getItem("tests.once")) sessionStorage.setItem("cairn.credential", secret);
      sessionStorage.setItem("tests.once", "1");
    }, credential);
  }
  return watched(await context.newPage(), also);
}

/** Watches a page: of its own requests none goes to another origin, and it goes nowhere else than to `also`. */
export function watched(page, also) {
  const trouble = [];
  const origin = new URL(url).origin;
  page.on("request", (request) => {
    const to = new URL(request.url());
    const away = !["data:", "blob:"].includes(to.protocol) && to.origin !== origin;
    const there = also !== undefined && (to.origin === also ? request.isNavigationRequest() : page.url().startsWith(also));
    if (away && !there) trouble.push(`a request left for ${request.url()}`);
  });
  page.on("pageerror", (error) => trouble.push(`exception: ${error.message}`));
  page.on("console", (message) => {
    // The browser reports every answer of 400 and above by itself; pages show those in their own words.
    const expected = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !expected) trouble.push(`console: ${message.text()}`);
  });
  page.trouble = trouble;
  return page;
}

/** Opens a page of the studio by its path. */
export async function visit(page, path) {
  await page.goto(`${url}/studio${path}`);
  await page.waitForSelector("h1");
}

/** An account's conversations, as its browser keeps them. */
export const threads = (page, subject = "admin") =>
  page.evaluate((name) => JSON.parse(localStorage.getItem(name) ?? "[]"), `cairn.threads:${subject}`);

/** No exception, no console error (a CSP violation is one), no request to elsewhere. */
export function clean(page) {
  assert.deepEqual(page.trouble, []);
}

/** Once what slides or fades has come to rest; what turns without an end is not waited for. */
export async function rested(page) {
  await page.evaluate(async () => {
    const ending = document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Number.POSITIVE_INFINITY);
    await Promise.race([
      Promise.allSettled(ending.map((one) => one.finished)),
      new Promise((done) => setTimeout(done, 1000)),
    ]);
  });
}

/** axe-core finds nothing serious. It is evaluated from outside, which the page's policy does not forbid. */
export async function accessible(page, name) {
  await rested(page);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
  const serious = violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, help, nodes }) => `${name}: ${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(serious, []);
}

/** The API itself, for what a test needs beforehand or wants to compare with. */
export async function api(method, path, body, credential = key) {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${credential}`, ...(body ? { "content-type": "application/json" } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.status === 204 ? null : response.json();
}
