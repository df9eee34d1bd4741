// What the tests bring along: a few datapoints, and adapters as archives.
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { api, key, url } from "./browser.js";

const golden = process.env.CAIRN_GOLDEN ?? resolve(dirname(fileURLToPath(import.meta.url)), "../golden");

export const BASE = "smollm2-135m-instruct";
export const CONTRIBUTOR = "Ada Lovelace";

const TEXTS = [
  ["hash-table", "A hash table is a data structure that stores items under a key. A hash function assigns each key to one of a number of buckets."],
  ["b-tree", "A B-tree is a balanced tree with many children in each node. Databases keep their indexes in it."],
  ["cairn", "A cairn is a heap of stones that marks a path. Hikers add a stone as they pass."],
  ["deadlock", "A deadlock is when each of two programs waits for what the other holds, so that neither can go on."],
];

/** The datapoints as a file of JSON lines. */
export const lines = TEXTS.map(([id, text]) =>
  JSON.stringify({ id, text, contributor: CONTRIBUTOR, contributed_at: "2024-05-01", metadata: { title: id } }),
).join("\n");

export function file(name, content, mimeType = "application/octet-stream") {
  return { name, mimeType, buffer: Buffer.from(content) };
}

const TERMS = {
  stack: "a pile of items of which the last one comes off first",
  queue: "a line of items of which the first one leaves first",
  heap: "a tree whose parents come before their children",
  trie: "a tree of letters in which words share their beginnings",
  graph: "a set of nodes with edges between them",
  list: "items that each know the next one",
  array: "items that lie side by side in memory",
  set: "a collection without duplicates",
};

/** Examples to train on, as chat messages; the last line has no answer. */
export function examples() {
  const asked = ["Define:", "What is meant by", "Explain the term"];
  const said = Object.entries(TERMS).flatMap(([term, text]) =>
    asked.map((question) => [`${question} ${term}`, `A ${term} is ${text}.`]),
  );
  const messages = said.map(([question, answer]) => [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ]);
  const rows = [...messages, [{ role: "user", content: "Define: nothing" }]];
  return file("examples.jsonl", rows.map((row) => JSON.stringify({ messages: row })).join("\n"), "application/jsonl");
}

/** A datanet with the datapoints in it, made over the API. */
export async function filledDatanet(name) {
  await api("POST", "/v1/datanets", { name, title: `Test of ${name}`, licence: "CC0-1.0" });
  const form = new FormData();
  form.append("file", new Blob([lines]), "lines.jsonl");
  const response = await fetch(`${url}/v1/datanets/${name}/ingest?format=jsonl`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: form,
  });
  let job = await response.json();
  while (job.state === "queued" || job.state === "running") {
    await new Promise((done) => setTimeout(done, 100));
    job = await api("GET", `/v1/jobs/${job.id}`);
  }
  if (job.state !== "succeeded") throw new Error(`${name} could not be filled: ${job.error}`);
}

/** A golden adapter as a tar.gz; `change` = another byte in its weights, so another generation. */
export function adapterArchive(path, change = 0) {
  const work = mkdtempSync(join(tmpdir(), "adapter-"));
  try {
    cpSync(join(golden, path), join(work, "adapter"), { recursive: true });
    const weights = join(work, "adapter/adapter_model.safetensors");
    const bytes = readFileSync(weights);
    // The lowest byte of the last number: hardly another value, but another hash.
    bytes[bytes.length - 4] ^= change;
    writeFileSync(weights, bytes);
    execFileSync("tar", ["-czf", join(work, "adapter.tar.gz"), "-C", work, "adapter"]);
    return file("adapter.tar.gz", readFileSync(join(work, "adapter.tar.gz")), "application/gzip");
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** The golden adapter under a name, made over the API; gives its generation. */
export async function uploaded(name) {
  const form = new FormData();
  const { name: filename, buffer } = adapterArchive("smollm2/adapter");
  form.append("file", new Blob([buffer]), filename);
  const sent = { method: "POST", headers: { authorization: `Bearer ${key}` }, body: form };
  const response = await fetch(`${url}/v1/adapters?base=${BASE}&alias=${name}`, sent);
  if (!response.ok) throw new Error(`${name} could not be uploaded: ${await response.text()}`);
  return (await response.json()).generation;
}

/** A key for a test's own account. */
export async function account(subject, ...roles) {
  return (await api("POST", "/v1/keys", { subject, roles })).secret;
}
