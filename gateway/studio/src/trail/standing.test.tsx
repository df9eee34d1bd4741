// The chain from the right to search a datanet to the blockchain, as it is rendered from a proof.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { golden, type Spoiled } from "../verify/golden.ts";
import { Standing } from "./standing.tsx";

const bundleOf = (name: string): Spoiled => JSON.parse(new TextDecoder().decode(golden(name)));

/** The names of the links, in order, each with what is said of it. */
function links(bundle: Spoiled, datanet: string): string[] {
  const given = {
    id: bundle.record.id,
    receipt: {
      index: bundle.log.index,
      tree_size: 265,
      leaf: "ab",
      root: "cd",
      log: "cairn.example.com/log",
    },
    passage: { datanet, leaf: "ef" },
    bundle,
  } as unknown as Parameters<typeof Standing>[0];
  const html = renderToStaticMarkup(createElement(Standing, given));
  return html
    .split("<li")
    .slice(1)
    .map((link) => link.replace(/^[^>]*>/, "").replace(/<[^>]+>/g, "|"));
}

test("a datanet that was searched under a grant says whose, for what and until when", () => {
  const [right, datapoint] = links(bundleOf("granted.json"), "case-law");
  assert.match(right ?? "", /Grant from its owner/);
  assert.match(right ?? "", /evaluation and retrieval · all rows · without an end · entry 267 of the log/);
  assert.match(datapoint ?? "", /Datapoint/);
});

test("the other rights are said in words", () => {
  const bundle = bundleOf("granted.json");
  const said = Object.fromEntries(
    bundle.record.retrieval.datanets.map(({ name, access }: Spoiled) => [
      access.basis,
      links(bundle, name)[0],
    ]),
  );
  assert.match(said.owner, /As its owner/);
  assert.match(said.public, /Open to everyone/);
  assert.match(said.administrator, /As an administrator/);
});

test("what nobody outside has seen is said to be so", () => {
  const all = links(bundleOf("bundle.json"), "tenancy-law");
  assert.ok(all.some((link) => link.includes("No witness")));
  assert.ok(all.some((link) => link.includes("On no blockchain")));
});

test("witnesses are named with when they signed", () => {
  const bundle = bundleOf("bundle.json");
  // Whether it is a witness's signature is for the verifier to say; here only its form counts.
  const blob = new Uint8Array(76);
  new DataView(blob.buffer).setBigUint64(4, 1_769_990_400n);
  bundle.log.checkpoint += `\u2014 witness.example.org ${btoa(String.fromCharCode(...blob))}\n`;
  const link = links(bundle, "tenancy-law").find((one) => one.includes("witness.example.org"));
  assert.match(link ?? "", /1 witness\|/);
  assert.match(link ?? "", /Feb \d, 2026/);
});

test("an anchor names its chain, its contract and its block", () => {
  const link = links(bundleOf("anchored.json"), "tenancy-law").at(-1) ?? "";
  assert.match(link, /Blockchain 31337/);
  assert.match(link, /first 262 entries .*contract 0x1111/);
  assert.match(link, /0x1879a57ffa/);
});
