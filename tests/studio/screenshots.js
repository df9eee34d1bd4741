// Pictures of every page, light and dark, 1440 and 390 wide, with axe-core run on each:
//   node screenshots.js [directory] [beginning of the names of some pages]
import { mkdirSync } from "node:fs";
import { accessible, api, browser, clean, open, visit } from "./browser.js";

const [directory = "screenshots", only] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });

const [datanet] = (await api("GET", "/v1/datanets")).data.filter(({ snapshot }) => snapshot.size > 0);
const [base] = (await api("GET", "/v1/models")).data.filter(({ kind }) => kind === "chat");
const [adapter] = (await api("GET", `/v1/adapters?base=${base.id}`)).data;
const question = "What is a hash table?";

/** An answer, asked once and kept in the browser's own history, so that every picture shows the same. */
const thread = await (async () => {
  const page = await open();
  await visit(page, `/chat?ask=${encodeURIComponent(question)}`);
  await page.waitForSelector(".answer-foot", { timeout: 180_000 });
  const kept = await page.evaluate(() => localStorage.getItem("cairn.threads"));
  await page.context().close();
  return JSON.parse(kept)[0];
})();
const record = thread.turns[0].answers[0].attribution.id;

/** A run that has succeeded, and a second one to compare it with. */
const runs = (await api("GET", "/v1/fine_tuning/jobs")).data.filter(({ status }) => status === "succeeded");

const pages = {
  "sign-in": { credential: null, path: "/" },
  home: { path: "/" },
  "chat-empty": { path: "/chat" },
  chat: { path: `/chat?thread=${thread.id}` },
  "chat-trail": { path: `/chat?thread=${thread.id}`, then: openTrail },
  "chat-proof": { path: `/chat?thread=${thread.id}`, then: verify },
  datanets: { path: "/datanets" },
  "datanet-browse": { path: `/datanets/${datanet.name}` },
  "datanet-search": { path: `/datanets/${datanet.name}?tab=search`, then: search },
  "datanet-add": { path: `/datanets/${datanet.name}?tab=add`, then: addFile },
  "datanet-terms": { path: `/datanets/${datanet.name}?tab=terms` },
  "datanet-access": { path: `/datanets/${datanet.name}?tab=access` },
  "datanet-about": { path: `/datanets/${datanet.name}?tab=about` },
  train: { path: "/train" },
  "train-new": { path: "/train/new" },
  "train-preview": { path: "/train/new", then: previewRun },
  ...(runs[0] ? { "train-run": { path: `/train/${runs[0].id}`, then: (page) => page.waitForSelector(".chart-line") } } : {}),
  ...(runs[1]
    ? { "train-compare": { path: `/train/compare?runs=${runs[0].id},${runs[1].id}`, then: (page) => page.waitForSelector(".chart-line") } }
    : {}),
  adapters: { path: "/adapters" },
  ...(adapter ? { adapter: { path: `/adapters/${base.id}/${adapter.name}` } } : {}),
  "audit-proof": { path: "/audit" },
  "audit-find": { path: "/audit?tab=record", then: (page) => page.waitForSelector(".table") },
  "audit-record": { path: `/audit?tab=record&id=${record}`, then: (page) => page.waitForSelector(".trail") },
  "audit-uses": { path: "/audit?tab=uses", then: (page) => page.waitForSelector(".table") },
  "audit-log": { path: "/audit?tab=log" },
  "admin-models": { path: "/admin" },
  "admin-keys": { path: "/admin?tab=keys" },
  "admin-roles": { path: "/admin?tab=roles" },
  "admin-limits": { path: "/admin?tab=limits" },
  "admin-usage": { path: "/admin?tab=usage" },
  "admin-health": { path: "/admin?tab=health" },
};

async function openTrail(page) {
  await page.locator(".answer-text .chip, .source").first().click();
  await page.waitForSelector(".trail-part");
  await page.waitForTimeout(400);
}

async function verify(page) {
  await openTrail(page);
  await page.getByRole("button", { name: "Verify" }).click();
  await page.waitForSelector('[data-verdict="proved"]', { timeout: 30_000 });
  await page.locator(".verify-verdict").evaluate((verdict) => verdict.scrollIntoView({ block: "center" }));
}

async function search(page) {
  await page.getByRole("searchbox").fill("balanced multi-way search tree");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.waitForSelector(".datapoint");
}

async function previewRun(page) {
  await page.getByRole("button", { name: "Preview" }).click();
  await page.waitForSelector("[data-preview]", { timeout: 60_000 });
}

async function addFile(page) {
  const lines = ["A cairn is a heap of stones that marks a path.", "Hikers add a stone as they pass."];
  const text = lines.map((line, n) => JSON.stringify({ id: `c${n}`, text: line, contributor: "Ada" })).join("\n");
  await page.setInputFiles('input[type="file"]', {
    name: "cairns.jsonl",
    mimeType: "application/jsonl",
    buffer: Buffer.from(text),
  });
  await page.waitForSelector(".preview");
}

const trouble = [];
for (const scheme of ["light", "dark"]) {
  for (const [width, height] of [[1440, 900], [390, 844]]) {
    for (const [name, { path, then, credential }] of Object.entries(pages)) {
      if (only && !name.startsWith(only)) continue;
      const page = await open({ width, height, scheme, ...(credential === null ? { credential } : {}) });
      await page.addInitScript((kept) => localStorage.setItem("cairn.threads", kept), JSON.stringify([thread]));
      await visit(page, path);
      await page.locator(".skeleton").first().waitFor({ state: "detached" });
      await then?.(page);
      await page.waitForTimeout(500);
      const picture = `${name}-${width}-${scheme}.png`;
      // A page that scrolls as a whole is taken whole; those that scroll inside are taken as they stand.
      await page.screenshot({ path: `${directory}/${picture}`, fullPage: !name.startsWith("chat") });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wide > 0) trouble.push(`${picture}: ${wide} px too wide`);
      await accessible(page, picture).catch((error) => trouble.push(error.message.split("\n").slice(2).join("\n")));
      try {
        clean(page);
      } catch {
        trouble.push(`${picture}: ${page.trouble.join("; ")}`);
      }
      await page.context().close();
    }
  }
}
await browser.close();
for (const line of trouble) console.error(line);
process.exitCode = trouble.length > 0 ? 1 : 0;
