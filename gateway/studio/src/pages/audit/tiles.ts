// Roots of a log, recomputed from its tiles (C2SP tlog-tiles): tile `L/N` holds up to 256 hashes, each over a perfect
// subtree of 256^L entries. A log only appends, so the root of any earlier size can be computed as well.
import { hex } from "../../verify/bytes.ts";
import { leafHash, nodeHash } from "../../verify/merkle.ts";

/** Fetches a tile by its path, such as `0/x001/067` or, while it is not full, `0/000.p/12`. */
export type ReadTile = (path: string) => Promise<Uint8Array>;

const WIDTH = 256;
const HEIGHT = 8;
const HASH = 32;

/** RFC 6962 roots of a log's first `older` and of all its `size` entries, from the tiles of `size`. */
export async function roots(older: number, size: number, read: ReadTile): Promise<[string, string]> {
  return (await rootsOf([older, size], size, read)) as [string, string];
}

/** RFC 6962 roots of a log at several sizes, none beyond `size`, from the tiles of `size`. */
export async function rootsOf(sizes: number[], size: number, read: ReadTile): Promise<string[]> {
  const known = new Map<string, Promise<Uint8Array>>();
  const hashes = (level: number, tile: number): Promise<Uint8Array> => {
    const full = Math.floor(size / WIDTH ** level);
    const width = Math.min(WIDTH, full - tile * WIDTH);
    const path = `${level}/${numbered(tile)}${width < WIDTH ? `.p/${width}` : ""}`;
    const found = known.get(path) ?? read(path).then((bytes) => sized(bytes, width, path));
    known.set(path, found);
    return found;
  };
  /** The hash over the perfect subtree of 2^height entries that begins at `start`. */
  const perfect = async (start: number, height: number): Promise<string> => {
    const level = Math.floor(height / HEIGHT);
    if (height % HEIGHT === 0) {
      const place = start / WIDTH ** level;
      const bytes = await hashes(level, Math.floor(place / WIDTH));
      const at = (place % WIDTH) * HASH;
      return hex(bytes.slice(at, at + HASH));
    }
    const left = await perfect(start, height - 1);
    return nodeHash(left, await perfect(start + 2 ** (height - 1), height - 1));
  };
  /** The subtrees of a size are its binary digits, largest first; they are joined from the right. */
  const root = async (count: number): Promise<string> => {
    let hash: string | null = null;
    let end = count;
    for (let height = 0; end > 0; height += 1) {
      const part = 2 ** height;
      if (Math.floor(count / part) % 2 === 0) continue;
      end -= part;
      const own = await perfect(end, height);
      hash = hash === null ? own : await nodeHash(own, hash);
    }
    return hash ?? EMPTY;
  };
  const found: string[] = [];
  for (const wanted of sizes) found.push(await root(wanted));
  return found;
}

/**
 * The entries of bundle `tile` of a log of `size` entries, each with its leaf hash. Throws unless every one is what the
 * tree's lowest tile says.
 */
export async function entriesOf(
  tile: number,
  size: number,
  read: ReadTile,
): Promise<{ index: number; bytes: Uint8Array<ArrayBuffer>; leaf: string }[]> {
  const width = Math.min(WIDTH, size - tile * WIDTH);
  const name = `${numbered(tile)}${width < WIDTH ? `.p/${width}` : ""}`;
  const [bundle, hashes] = await Promise.all([read(`entries/${name}`), read(`0/${name}`)]);
  sized(hashes, width, `0/${name}`);
  const entries = [];
  let at = 0;
  for (let n = 0; n < width; n += 1) {
    const length = ((bundle[at] ?? 0) << 8) + (bundle[at + 1] ?? 0);
    const bytes = Uint8Array.from(bundle.subarray(at + 2, at + 2 + length));
    if (at + 2 > bundle.length || bytes.length !== length)
      throw new Error(`the bundle ${name} ends within entry ${tile * WIDTH + n}`);
    const leaf = await leafHash(bytes);
    if (leaf !== hex(hashes.slice(n * HASH, (n + 1) * HASH)))
      throw new Error(`entry ${tile * WIDTH + n} is not the one in the tree: its hash differs`);
    entries.push({ index: tile * WIDTH + n, bytes, leaf });
    at += 2 + length;
  }
  if (at !== bundle.length) throw new Error(`the bundle ${name} is longer than its entries`);
  return entries;
}

/** The bundle that entry `index` is in. */
export function tileOf(index: number): number {
  return Math.floor(index / WIDTH);
}

/** SHA-256 of nothing: the root of a log without entries. */
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** 1234067 is `x001/x234/067`. */
function numbered(tile: number): string {
  const groups = [String(tile % 1000).padStart(3, "0")];
  for (let rest = Math.floor(tile / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
  }
  return groups.join("/");
}

function sized(bytes: Uint8Array, width: number, path: string): Uint8Array {
  if (bytes.length !== width * HASH)
    throw new Error(`tile ${path} has ${bytes.length} bytes, not ${width * HASH}`);
  return bytes;
}
