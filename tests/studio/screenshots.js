// Pictures: every page, light and dark, at 1440 and 390 px; and those of docs/tour.md and the README. From nothing:
//
//   tests/studio/run node screenshots.js                     all of them
//   tests/studio/run node screenshots.js train,audit         every page whose name begins so
//   tests/studio/run node screenshots.js tour                those of the tour and the README
//   tests/studio/run node screenshots.js tour:home,chat-w    some of them, by the names of their pages
//
// The pages' go to tests/studio/screenshots, and are held to what the tests hold every page to; the tour's to docs/pictures.
import { mkdirSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { accessible, api, browser, clean, open, visit } from "./browser.js";
import { BASE, file } from "./fixtures.js";
import { ADAPTER, GLOSSARY, QUESTION, seed, train, trained } from "./seed.js";

const [given = ""] = process.argv.slice(2);
const onlyTour = /^tour(:|$)/.test(given);
const names = (onlyTour ? given.slice("tour:".length) : given).split(",");
const wanted = (name) => names.some((beginning) => name.startsWith(beginning));
const PAGES = new URL("screenshots/", import.meta.url).pathname;
const TOUR = new URL("../../docs/pictures/", import.meta.url).pathname;
mkdirSync(PAGES, { recursive: true });

/** A machine that does other things as well is slow at learning. */
const WAIT = { timeout: 1_200_000 };
const people = await seed();
const { lena } = people;

const owners = (subject) => ({ threads: `cairn.threads:${subject}`, settings: `cairn.chat-settings:${subject}` });
const how = { choices: [{ model: BASE, adapter: null }], datanets: [GLOSSARY], temperature: 0, maxTokens: 96, passages: 4 };

/** An answer, asked once and kept in the browser's own history, so that every picture shows the same. */
async function answered(question, settings) {
  const page = await signedIn({ settings });
  await visit(page, `/chat?ask=${encodeURIComponent(question)}`);
  await page.waitForFunction(
    (count) => document.querySelectorAll(".answer-foot").length === count,
    settings.choices.length,
    WAIT,
  );
  const [thread] = await page.evaluate((name) => JSON.parse(localStorage.getItem(name)), owners("lena").threads);
  // How much each source mattered is measured after the answer; pictures show it measured.
  for (const { attribution } of thread.turns[0].answers) {
    while (attribution?.datapoints.length > 0) {
      const influence = await api("GET", `/v1/attributions/${attribution.id}/influence`, undefined, lena).catch(() => null);
      if (influence?.status === "measured") break;
      if (!influence || influence.status === "failed") {
        await api("POST", `/v1/attributions/${attribution.id}/influence`, { influence: "shapley", wait: true }, lena);
      }
      await new Promise((done) => setTimeout(done, 500));
    }
  }
  await page.context().close();
  return thread;
}

/** A page whose account has asked and chosen what is given. */
async function signedIn({ threads = [], settings = how, credential = lena, ...more } = {}) {
  const page = await open({ credential, ...more });
  const { threads: name, settings: chosen } = owners("lena");
  await page.addInitScript(
    ([stored, set]) => {
      for (const [key, value] of [stored, set]) if (!localStorage.getItem(key)) localStorage.setItem(key, value);
    },
    [
      [name, JSON.stringify(threads)],
      [chosen, JSON.stringify(settings)],
    ],
  );
  return page;
}

console.log("asking");
const thread = await answered(QUESTION, how);
const record = thread.turns[0].answers[0].attribution.id;
console.log(thread.turns[0].answers[0].text);

const options = { r: 8, lr: 0.001, max_steps: 48, batch_size: 4, gradient_accumulation: 1, max_length: 64, eval_every: 6 };
const besides = { ...how, maxTokens: 64, choices: [{ model: BASE, adapter: null }, { model: BASE, adapter: "tutor" }] };
let [live, careful, compared, picturedLive] = [{ id: "none" }, { id: "none" }, thread, null];
// They take minutes: only where a picture shows them.
if (["train-run", "train-curves", "train-compare", "chat-compare"].some(wanted)) {
  console.log("training");
  live = await train(lena, "tutor", options);
  picturedLive = await liveRun(live.id);
  await trained(lena, live.id);
  careful = await train(lena, "careful-tutor", { ...options, lr: 0.0003 });
  await trained(lena, careful.id);
  compared = await answered("Define: Queue", besides);
  console.log(compared.turns[0].answers.map(({ text }) => text).join("\n---\n"));
}

/** The page of a run while it goes on. */
async function liveRun(id) {
  const page = await signedIn();
  await visit(page, `/train/${id}`);
  await page.waitForFunction(() => Number(document.querySelector(".chart")?.dataset.steps) >= 20, undefined, WAIT);
  const picture = await page.screenshot({ fullPage: false });
  await page.context().close();
  return picture;
}

const adapterPath = `/adapters/${BASE}/${ADAPTER}`;
const chart = (page) => page.waitForSelector('.chart:not([data-steps="0"])');

/** Name, path and what is done there first; `tour`: the picture's name in docs, `whole`: of all of the page. */
const pages = {
  "sign-in": { who: null, path: "/", tour: "tour-sign-in" },
  home: { path: "/", threads: [], tour: "tour-home" },
  "chat-empty": { path: "/chat" },
  "chat-answer": { path: `/chat?thread=${thread.id}`, tour: "tour-chat" },
  "chat-trail": { path: `/chat?thread=${thread.id}`, then: openTrail, tour: "chat" },
  "chat-why": { path: `/chat?thread=${thread.id}`, then: (page) => openTrail(page).then(() => trailPart(page, "How much it mattered")), tour: "tour-trail" },
  "chat-standing": { path: `/chat?thread=${thread.id}`, then: (page) => openTrail(page).then(() => trailPart(page, "Proof")), tour: "tour-standing" },
  "chat-proof": { path: `/chat?thread=${thread.id}`, then: verify, tour: "tour-proof" },
  "chat-compare": { path: `/chat?thread=${compared.id}`, settings: besides, tour: "tour-chat-adapter" },
  datanets: { path: "/datanets", tour: "tour-inbox" },
  "datanets-mine": { path: "/datanets?tab=mine", who: "otto", tour: "tour-my-access" },
  "datanet-new": { path: "/datanets?create=true", then: (page) => page.getByRole("dialog").waitFor() },
  "datanet-browse": { path: `/datanets/${GLOSSARY}` },
  "datanet-search": { path: `/datanets/${GLOSSARY}?tab=search`, then: search, tour: "tour-search" },
  "datanet-add": { path: `/datanets/${GLOSSARY}?tab=add`, then: addFile, tour: "tour-add" },
  "datanet-offer": { path: `/datanets/${GLOSSARY}?tab=add`, who: "otto" },
  "datanet-terms": { path: `/datanets/${GLOSSARY}?tab=terms`, then: simulated, tour: "tour-terms" },
  "datanet-ask": { path: `/datanets/${GLOSSARY}?tab=terms`, who: "nora", then: asking, tour: "tour-ask", whole: true },
  "datanet-access": { path: `/datanets/${GLOSSARY}?tab=access`, tour: "tour-access" },
  "datanet-about": { path: `/datanets/${GLOSSARY}?tab=about`, then: (page) => page.getByRole("region", { name: "Contributors" }).getByRole("table").waitFor() },
  train: { path: "/train" },
  "train-new": { path: "/train/new", then: newRun },
  "train-preview": { path: "/train/new", then: (page) => newRun(page).then(() => previewRun(page)), tour: "tour-train-new", whole: true },
  "train-run": { path: `/train/${live.id}`, then: measures, tour: "tour-train-run" },
  "train-curves": { path: `/train/${live.id}`, then: curves, tour: "train" },
  "train-compare": { path: `/train/compare?runs=${live.id},${careful.id}`, then: chart, tour: "tour-train-compare" },
  adapters: { path: "/adapters" },
  "adapter-upload": { path: "/adapters", then: (page) => page.getByRole("button", { name: "Upload an adapter" }).click() },
  adapter: { path: adapterPath, tour: "tour-adapter" },
  "audit-proof": { path: "/audit", then: tampered, tour: "tour-tampered" },
  "audit-record": { path: `/audit?tab=record&id=${record}`, then: (page) => page.waitForSelector(".trail") },
  "audit-uses": { path: "/audit?tab=uses", then: (page) => page.waitForSelector(".table"), tour: "tour-contributors" },
  "audit-log": { path: "/audit?tab=log", tour: "tour-log" },
  "admin-models": { path: "/admin", tour: "tour-admin" },
  "admin-keys": { path: "/admin?tab=keys", tour: "tour-keys" },
  "admin-roles": { path: "/admin?tab=roles" },
  "admin-limits": { path: "/admin?tab=limits" },
  "admin-usage": { path: "/admin?tab=usage" },
  "admin-health": { path: "/admin?tab=health" },
};

async function openTrail(page) {
  await page.locator(".answer-text .chip, .source").first().click();
  await page.waitForSelector(".trail-part");
  await page.getByText("On no blockchain").waitFor();
  await page.getByRole("list", { name: "Influence of each source" }).waitFor();
}

async function trailPart(page, title) {
  await page.locator(".trail-part > h3", { hasText: title }).evaluate((part) => part.scrollIntoView({ block: "start" }));
  // The trail's own head covers what is scrolled to its top.
  await page.evaluate(() => document.querySelector(".chat-trail, .sheet")?.scrollBy(0, -84));
}

async function verify(page) {
  await openTrail(page);
  await page.getByRole("button", { name: "Verify" }).click();
  await page.waitForSelector('[data-verdict="proved"]', WAIT);
  await page.locator(".verify-verdict").evaluate((verdict) => verdict.scrollIntoView({ block: "start" }));
  await page.evaluate(() => document.querySelector(".chat-trail, .sheet")?.scrollBy(0, -150));
}

/** A proof in which somebody else is named as the contributor. */
async function tampered(page) {
  const headers = { authorization: `Bearer ${lena}` };
  const proof = await (await fetch(`${process.env.CAIRN_STUDIO_URL}/v1/attributions/${record}/proof`, { headers })).text();
  const [first] = thread.turns[0].answers[0].attribution.datapoints;
  const spoiled = file("answer.cairn.json", proof.replaceAll(first.contributor, "Eve Marsh"));
  await page.getByLabel("Proof bundle").setInputFiles(spoiled);
  await page.waitForSelector('[data-verdict="failed"]', WAIT);
}

async function search(page) {
  await page.getByRole("searchbox").fill("found without reading everything");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.waitForSelector(".datapoint");
}

async function simulated(page) {
  await page.getByLabel("Users: company").selectOption("refer");
  await page.getByRole("button", { name: "Try them out" }).click();
  const result = page.getByRole("region", { name: "Who would be granted" });
  await result.waitFor();
  await page.getByRole("button", { name: "Try them out" }).evaluate((button) => {
    button.scrollIntoView({ block: "start" });
    window.scrollBy(0, -32);
  });
}

async function newRun(page) {
  await page.getByLabel("Datanet").selectOption(GLOSSARY);
  await page.getByRole("button", { name: "LoRA", exact: true }).click();
}

async function previewRun(page) {
  await page.getByRole("button", { name: "Preview" }).click();
  await page.waitForSelector("[data-preview]", WAIT);
}

async function measures(page) {
  await chart(page);
  await page.locator("[data-evaluation]").evaluate((part) => {
    part.scrollIntoView({ block: "start" });
    window.scrollBy(0, -32);
  });
}

/** The form as somebody fills it who has not asked yet. */
async function asking(page) {
  await page.getByLabel("I am").selectOption("academic");
  await page.getByLabel("What it is for").fill("Examples for an evening class in programming.");
  await page.getByRole("checkbox", { name: "I affirm" }).click();
  await page.getByText("Ask for less").click();
  await page.getByLabel("For how many days").fill("90");
}

async function curves(page) {
  await chart(page);
  await page.getByRole("slider").focus();
  for (let n = 0; n < 12; n += 1) await page.keyboard.press("ArrowLeft");
  await page.locator("#curves").evaluate((curve) => curve.scrollIntoView({ block: "center" }));
}

async function addFile(page) {
  await page.setInputFiles('input[type="file"]', new URL("../documents/handbook.docx", import.meta.url).pathname);
  await page.getByRole("list", { name: "The first datapoints" }).waitFor(WAIT);
}

/** As small as it can be without being seen: at most 256 colours, chosen for the picture. */
const small = (picture) => sharp(picture).png({ palette: true, quality: 92, effort: 10 }).toBuffer();

async function show({ path, then, who = "lena", threads = [thread, compared], settings }, view) {
  const credential = who === null ? null : people[who];
  const page = await signedIn({ ...view, threads, credential, ...(settings ? { settings } : {}) });
  await visit(page, path);
  await page.locator(".skeleton").first().waitFor({ state: "detached" });
  await page.evaluate(() => document.fonts.ready);
  await then?.(page);
  // What slides or fades in has come to rest.
  await page.waitForTimeout(500);
  return page;
}

const trouble = [];

async function everyPage() {
  for (const scheme of ["light", "dark"]) {
    for (const [width, height] of [[1440, 900], [390, 844]]) {
      for (const [name, spec] of Object.entries(pages)) {
        if (!wanted(name)) continue;
        const picture = `${name}-${width}-${scheme}.png`;
        const page = await show(spec, { width, height, scheme });
        // A page that scrolls as a whole is taken whole; those that scroll inside are taken as they stand.
        const path = `${PAGES}${picture}`;
        await page.evaluate(() => window.scrollTo(0, 0));
        await page.screenshot({ path, fullPage: !name.startsWith("chat") });
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
}

async function tour() {
  let bytes = 0;
  const keep = async (name, picture) => {
    const made = await small(picture);
    bytes += made.length;
    writeFileSync(`${TOUR}${name}.png`, made);
  };
  if (picturedLive) await keep("tour-train-live", picturedLive);
  for (const [name, spec] of Object.entries(pages)) {
    if (!spec.tour || !wanted(name)) continue;
    const page = await show(spec, { width: 1440, height: 900, scheme: "light" });
    if (spec.whole) await page.evaluate(() => window.scrollTo(0, 0));
    await keep(spec.tour, await page.screenshot({ fullPage: spec.whole ?? false }));
    await page.context().close();
  }
  console.log(`the tour's pictures take ${Math.round(bytes / 1000)} kB`);
  if (bytes > 2_000_000) trouble.push(`the tour's pictures take ${bytes} bytes`);
}

if (!onlyTour) await everyPage();
if (onlyTour || given === "") await tour();
await browser.close();
for (const line of trouble) console.error(line);
process.exitCode = trouble.length > 0 ? 1 : 0;
