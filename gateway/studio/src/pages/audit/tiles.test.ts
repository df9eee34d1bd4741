// Roots from tiles, against the definition of RFC 6962 computed directly.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hex } from "../../verify/bytes.ts";
import { leafHash, nodeHash } from "../../verify/merkle.ts";
import { entriesOf, roots, rootsOf, tileOf } from "./tiles.ts";

const SIZE = 700;
const leaves = await Promise.all(
  Array.from({ length: SIZE }, (_, n) => leafHash(new TextEncoder().encode(`entry ${n}`))),
);

/** RFC 6962, section 2.1, as it stands there. */
async function defined(part: string[]): Promise<string> {
  if (part.length === 1) return part[0] as string;
  let split = 1;
  while (split * 2 < part.length) split *= 2;
  return nodeHash(await defined(part.slice(0, split)), await defined(part.slice(split)));
}

/** The tiles that a log of these leaves would serve. */
const read = (asked: string[]) => async (path: string) => {
  asked.push(path);
  const [level = "", number = ""] = path.split("/");
  const tile = Number.parseInt(number, 10);
  const span = 256 ** Number(level);
  const hashes: string[] = [];
  for (let n = tile * 256; n < (tile + 1) * 256 && (n + 1) * span <= SIZE; n += 1) {
    hashes.push(await defined(leaves.slice(n * span, (n + 1) * span)));
  }
  return new Uint8Array(Buffer.from(hashes.join(""), "hex"));
};

test("every kind of size: within a tile, full, across tiles, across levels", async () => {
  for (const older of [1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 699, 700]) {
    const found = await roots(older, SIZE, read([]));
    assert.deepEqual(found, [await defined(leaves.slice(0, older)), await defined(leaves)], `size ${older}`);
  }
});

test("full subtrees come from the level above, each tile once", async () => {
  const asked: string[] = [];
  await roots(512, SIZE, read(asked));
  assert.deepEqual(asked.sort(), ["0/002.p/188", "1/000.p/2"]);
});

test("a log without entries has the hash of nothing", async () => {
  const [empty] = await roots(0, SIZE, read([]));
  assert.equal(empty, hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array()))));
});

test("a tile of another length is refused", async () => {
  await assert.rejects(
    roots(1, SIZE, async () => new Uint8Array(32)),
    /tile .* has 32 bytes/,
  );
});

test("several sizes at once, of which none needs more than the tiles of the last", async () => {
  const found = await rootsOf([3, 256, 513, 700], SIZE, read([]));
  const expected = await Promise.all([3, 256, 513, 700].map((size) => defined(leaves.slice(0, size))));
  assert.deepEqual(found, expected);
});

/** Bundles of entries beside the tiles. */
const withEntries =
  (change = (bytes: Uint8Array) => bytes) =>
  async (path: string) => {
    if (!path.startsWith("entries/")) return read([])(path);
    const tile = Number.parseInt(path.slice("entries/".length), 10);
    const parts: number[] = [];
    for (let n = tile * 256; n < Math.min((tile + 1) * 256, SIZE); n += 1) {
      const text = new TextEncoder().encode(`entry ${n}`);
      parts.push(text.length >> 8, text.length & 255, ...text);
    }
    return change(Uint8Array.from(parts));
  };

test("entries are read from their bundle, and are those of the tree", async () => {
  const last = await entriesOf(tileOf(699), SIZE, withEntries());
  assert.equal(last.length, 188);
  assert.deepEqual(last.at(-1)?.index, 699);
  assert.equal(new TextDecoder().decode(last[0]?.bytes), "entry 512");
  assert.equal((await entriesOf(0, SIZE, withEntries())).length, 256);
});

test("an entry that was changed, or a bundle that is cut short or too long, is refused", async () => {
  const spoiled = withEntries((bytes) => bytes.with(5, (bytes[5] ?? 0) ^ 1));
  await assert.rejects(entriesOf(0, SIZE, spoiled), /entry 0 is not the one in the tree/);
  const cut = withEntries((bytes) => bytes.slice(0, -1));
  await assert.rejects(entriesOf(2, SIZE, cut), /ends within entry 699/);
  const long = withEntries((bytes) => Uint8Array.from([...bytes, 0, 0]));
  await assert.rejects(entriesOf(2, SIZE, long), /longer than its entries/);
});
