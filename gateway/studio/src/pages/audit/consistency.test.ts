// Any two states of a log that is signed here, before and after a change of its key.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, base64, concat, fromHex, hex, utf8 } from "../../verify/bytes.ts";
import { canonical } from "../../verify/canonical.ts";
import { sha256 } from "../../verify/crypto.ts";
import { leafHash } from "../../verify/merkle.ts";
import { consistent } from "./consistency.ts";
import { rootsOf } from "./tiles.ts";

const ORIGIN = "cairn.example.com/log";
const SIZE = 9;
/** The key changed at this size: the second one signs from the next on. */
const CHANGED = 5;

async function signer(seed: number) {
  const pkcs8 = concat(fromHex("302e020100300506032b657004220420"), new Uint8Array(32).fill(seed));
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  const blob = concat(Uint8Array.of(1), new Uint8Array(Buffer.from(x ?? "", "base64url")));
  const id = hex((await sha256(concat(utf8(`${ORIGIN}\n`), blob))).subarray(0, 4));
  const sign = async (message: string): Promise<Bytes> =>
    new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, key, utf8(message)));
  return { line: `${ORIGIN}+${id}+${base64(blob)}`, id, sign };
}

const [before, after, stranger] = await Promise.all([signer(1), signer(2), signer(3)]);
const time = "2026-11-01T00:00:00.000Z";
const change = `cairn/rotation/v1\n${ORIGIN}\n${CHANGED}\n${before.line}\n${after.line}\n${time}\n`;
const rotation = canonical({
  type: "cairn/rotation/v1",
  origin: ORIGIN,
  size: CHANGED,
  previous: before.line,
  next: after.line,
  time,
  by_previous: base64(await before.sign(change)),
  by_next: base64(await after.sign(change)),
});

/** Leaves of the log; `rewritten`: with another one in place of its second. */
const leaves = async (rewritten: boolean) =>
  Promise.all(
    Array.from({ length: SIZE }, (_, n) => leafHash(utf8(rewritten && n === 1 ? "another" : `entry ${n}`))),
  );
const reading = (all: string[]) => async (path: string) => {
  const width = Number(path.split(".p/")[1]);
  return fromHex(all.slice(0, width).join(""));
};
const read = reading(await leaves(false));

async function checkpoint(size: number, by = size <= CHANGED ? before : after, from = read): Promise<string> {
  const [root = ""] = await rootsOf([size], SIZE, from);
  const body = `${ORIGIN}\n${size}\n${base64(fromHex(root))}\n`;
  return `${body}\n\u2014 ${ORIGIN} ${base64(concat(fromHex(by.id), await by.sign(body)))}\n`;
}

const now = await checkpoint(SIZE);
const key = `${before.line}\n${rotation}\n`;
const states = (earlier: string, later: string, over = {}) => ({ earlier, later, now, key, ...over });

test("two checkpoints across a change of key, each signed by the key of its time", async () => {
  const found = await consistent(states(await checkpoint(3), await checkpoint(8)), read);
  assert.deepEqual([found.from, found.to, found.signed], [3, 8, true]);
  // Who kept the new key follows the change the other way.
  const kept = await consistent(
    states(await checkpoint(3), now, { key: `${after.line}\n${rotation}\n` }),
    read,
  );
  assert.equal(kept.signed, true);
});

test("without the change neither key leads to the other", async () => {
  await assert.rejects(consistent(states(await checkpoint(3), now, { key: before.line }), read), /signed by/);
  await assert.rejects(consistent(states(await checkpoint(3), now, { key: after.line }), read), /signed by/);
});

test("a checkpoint by a key that was not the log’s then is refused", async () => {
  for (const wrong of [
    await checkpoint(3, after),
    await checkpoint(8, before),
    await checkpoint(3, stranger),
  ]) {
    await assert.rejects(consistent(states(wrong, now), read), /signed by|was not the log's key/);
  }
});

test("sizes alone give their roots, which are not signed", async () => {
  const found = await consistent(states("3", " 8 "), read);
  assert.equal(found.signed, false);
  assert.deepEqual([found.fromRoot, found.toRoot], await rootsOf([3, 8], SIZE, read));
});

test("a rewritten past, a log that has shrunk, and states the wrong way round are told apart", async () => {
  const other = reading(await leaves(true));
  const old = await checkpoint(3, before, other);
  await assert.rejects(consistent(states(old, now), read), /the log was rewritten/);
  await assert.rejects(consistent(states(await checkpoint(3), now), other), /do not lead to the root/);
  const shrunk = states(now, await checkpoint(4), { now: await checkpoint(4) });
  await assert.rejects(consistent(shrunk, read), /has shrunk/);
  await assert.rejects(consistent(states("10", "2"), read), /more than there are/);
  await assert.rejects(consistent(states("8", "3"), read), /swap them/);
  await assert.rejects(consistent(states("", "3"), read), /Give the earlier state/);
});
