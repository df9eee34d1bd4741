// A gateway with something on every page: people, datanets with terms, requests and offers that wait, and an adapter. Made
// over the API alone, so that it can be made from nothing. What the pictures and the tests of every page show.
import { api, url } from "./browser.js";
import { account, adapterArchive, BASE } from "./fixtures.js";
import { ENTRIES } from "./glossary.js";

export const GLOSSARY = "glossary";
export const ADAPTER = "support";
/** A question that the glossary answers, in words that a small model repeats. */
export const QUESTION = "What is a hash table?";

const lines = (entries) =>
  entries
    .map(([id, title, topic, contributor, text]) =>
      JSON.stringify({ id, text, contributor, contributed_at: "2026-05-01", source: "https://example.org/glossary", metadata: { title, topic } }),
    )
    .join("\n");

async function send(credential, path, ...files) {
  const form = new FormData();
  for (const { name, buffer } of files) form.append("file", new Blob([buffer]), name);
  const headers = { authorization: `Bearer ${credential}` };
  const response = await fetch(`${url}${path}`, { method: "POST", headers, body: form });
  if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function settled(credential, job) {
  let seen = job;
  while (seen.state === "queued" || seen.state === "running") {
    await new Promise((done) => setTimeout(done, 100));
    seen = await api("GET", `/v1/jobs/${seen.id}`, undefined, credential);
  }
  if (seen.state !== "succeeded") throw new Error(`job ${seen.id}: ${seen.error}`);
}

const jsonl = (name, entries) => ({ name, buffer: Buffer.from(lines(entries)) });

/** Makes all of it, once for a gateway; gives the credentials of the people in it. */
export async function seed() {
  const people = {
    lena: await account("lena", "admin"),
    mira: await account("mira@clinic.example", "app"),
    otto: await account("otto@school.example", "contributor"),
    nora: await account("nora@college.example", "app"),
    archive: await account("archive", "steward"),
  };
  const { lena, mira, otto, archive } = people;
  await glossary(lena);
  await access(lena, mira, otto);
  await others(archive, otto);
  await offers(otto);
  await adapter(lena);
  return people;
}

async function glossary(lena) {
  await api("POST", "/v1/datanets", { name: GLOSSARY, title: "Computing glossary", description: "Short definitions, one idea each, by the staff of the department.", licence: "CC-BY-4.0" }, lena);
  const path = `/v1/datanets/${GLOSSARY}/ingest?format=jsonl`;
  await settled(lena, await send(lena, path, jsonl("glossary.jsonl", ENTRIES.slice(0, 24))));
  await settled(lena, await send(lena, path, jsonl("more.jsonl", ENTRIES.slice(24))));
}

/** Terms, with a request that they grant, one that they deny and one that waits for people. */
async function access(lena, mira, otto) {
  const terms = {
    purposes: { retrieval: "allow", training: "refer", evaluation: "allow" },
    duration_days: 180,
    retrievals_per_day: 1000,
    statement_characters: 20,
    affirmations: [{ id: "credit", text: "I name the contributors where I show what they wrote." }],
  };
  await api("PUT", `/v1/datanets/${GLOSSARY}/terms`, terms, lena);
  const ask = (credential, application) => api("POST", `/v1/datanets/${GLOSSARY}/requests`, application, credential);
  const credit = { affirmed: ["credit"] };
  await ask(mira, { purposes: ["retrieval"], actor: "company", statement: "Help texts in our clinic's software." });
  await ask(mira, { purposes: ["retrieval"], actor: "company", statement: "Help texts in our clinic's software.", ...credit });
  await ask(otto, { purposes: ["retrieval"], actor: "academic", statement: "Exercises for a first course in programming.", ...credit });
  await ask(otto, { purposes: ["training"], actor: "academic", statement: "A tutor that explains terms to first-year students.", ...credit });
  const limits = new URLSearchParams({ rows: 'metadata.topic = "storage"', days: "30", retrievals_per_day: "200" });
  await api("PUT", `/v1/datanets/${GLOSSARY}/grants/help-desk?${limits}`, undefined, lena);
}

/** Somebody else's datanet, for which one may ask. */
async function others(archive, otto) {
  const name = "field-notes";
  await api("POST", "/v1/datanets", { name, title: "Field notes", description: "Notes from excavations since 1971.", licence: "CC-BY-NC-4.0" }, archive);
  const notes = [["note-1", "Trench 4", "pottery", "Iris Vale", "Trench 4 held sherds of three vessels, all of them fired at a low heat."]];
  await settled(archive, await send(archive, `/v1/datanets/${name}/ingest?format=jsonl`, jsonl("notes.jsonl", notes)));
  await api("PUT", `/v1/datanets/${name}/terms`, { purposes: { retrieval: "refer", training: "deny", evaluation: "allow" } }, archive);
  await api("POST", `/v1/datanets/${name}/requests`, { purposes: ["retrieval"], actor: "academic", statement: "A seminar on early kilns." }, otto);
}

/** A file that waits for the owner's word. */
async function offers(otto) {
  const entries = [
    ["heap", "Heap", "memory", "Otto Berg", "A heap is the part of memory from which a program takes room while it runs."],
    ["thread", "Thread", "concurrency", "Otto Berg", "A thread is one of several flows of control within a program, which share its memory."],
  ];
  const query = new URLSearchParams({ format: "jsonl", note: "Two terms that my students missed." });
  await send(otto, `/v1/datanets/${GLOSSARY}/contributions?${query}`, jsonl("two-more-terms.jsonl", entries));
}

/** Two generations under one name, of which the second is tried on some requests. */
async function adapter(lena) {
  const made = [];
  for (const change of [1, 2]) {
    const { generation } = await send(lena, `/v1/adapters?base=${BASE}&alias=${ADAPTER}`, adapterArchive("smollm2/adapter", change));
    made.push(generation);
  }
  const path = `/v1/adapters/${BASE}/${ADAPTER}`;
  await api("PUT", path, { rollback: true }, lena);
  await api("PUT", path, { canary: { generation: made[1], percent: 20 } }, lena);
  await api("PUT", path, { visibility: "public" }, lena);
}

/** A run that learns the glossary, with whatever is set otherwise; the caller waits for its end. */
export function train(credential, name, options) {
  return api(
    "POST",
    "/v1/fine_tuning/jobs",
    {
      model: BASE,
      training_file: `datanet:${GLOSSARY}`,
      template: { user: "Define: {title}", assistant: "{text}" },
      suffix: name,
      method: { type: "lora", preset: "fast", options },
      held_out: 0.3,
      evaluation_samples: 4,
      metadata: { name, data: GLOSSARY, preset: "fast" },
    },
    credential,
  );
}

/** A run once it has ended. */
export async function trained(credential, id) {
  for (;;) {
    const job = await api("GET", `/v1/fine_tuning/jobs/${id}`, undefined, credential);
    if (job.status === "succeeded") return job;
    if (!["queued", "running"].includes(job.status)) throw new Error(`run ${id} is ${job.status}: ${JSON.stringify(job.error)}`);
    await new Promise((done) => setTimeout(done, 500));
  }
}
