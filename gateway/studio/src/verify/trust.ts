//! Which keys a reader trusts: one, and those that follow from it by changes that both the old and the new key signed.

import { fromBase64, utf8 } from "./bytes.ts";
import { parseCanonical } from "./canonical.ts";
import { type Checkpoint, type PublicKey, parsePublicKey, verifyCheckpoint } from "./checkpoint.ts";
import { ed25519 } from "./crypto.ts";
import { type Rotation, rotation as rotationShape } from "./entry.ts";

/** What a key file holds: the log's key, and the changes of it that the reader knows. */
export interface Trust {
  key: PublicKey;
  rotations: Rotation[];
}

/** Reads a key file: the key line and after it, if the key was ever changed, the rotation entries, one a line. */
export async function parseKeyFile(text: string): Promise<Trust> {
  const lines = text.split(/\r?\n/).filter((line) => /\P{White_Space}/u.test(line));
  const key = await parsePublicKey((lines[0] ?? "").replace(/\p{White_Space}+$/u, ""));
  const rotations = lines.slice(1).map((line) => rotationShape(parseCanonical(utf8(line)), "rotation"));
  await KeyHistory.of(key, rotations);
  return { key, rotations };
}

/** Checks both signatures of a change of key; gives the previous and the next key. */
async function verifyRotation(rotation: Rotation): Promise<[PublicKey, PublicKey]> {
  const { origin, size, previous, next, time, by_previous, by_next } = rotation;
  const keys: [PublicKey, PublicKey] = [await parsePublicKey(previous), await parsePublicKey(next)];
  if (keys.some((key) => key.origin !== origin)) throw wrong(size, "a key is of another log");
  if (previous === next) throw wrong(size, "both keys are the same");
  const message = utf8(`cairn/rotation/v1\n${origin}\n${size}\n${previous}\n${next}\n${time}\n`);
  for (const [i, encoded] of [by_previous, by_next].entries()) {
    const signature = fromBase64(encoded);
    const signer = keys[i] as PublicKey;
    if (signature?.length !== 64 || !(await ed25519(signer.key, signature, message))) {
      throw wrong(size, `the ${i === 0 ? "previous" : "next"} key did not sign it`);
    }
  }
  return keys;
}

/** Which key signed a log's checkpoints at which sizes, as far as it follows from one trusted key. */
export class KeyHistory {
  /** In order; each with the largest size it signs, the last without end. */
  private readonly keys: { key: PublicKey; until: bigint }[];

  private constructor(keys: { key: PublicKey; until: bigint }[]) {
    this.keys = keys;
  }

  /** What follows from a key and these rotations, in any order. Throws unless they make one chain with the key in it. */
  static async of(trusted: PublicKey, rotations: Rotation[]): Promise<KeyHistory> {
    const links = new Map<string, { size: number; previous: PublicKey; next: PublicKey }>();
    for (const rotation of rotations) {
      const [previous, next] = await verifyRotation(rotation);
      links.set(JSON.stringify([rotation.size, previous.line, next.line]), {
        size: rotation.size,
        previous,
        next,
      });
    }
    const chain = [...links.values()].sort((a, b) => a.size - b.size);
    for (const [i, { size, previous }] of chain.entries()) {
      const before = chain[i - 1];
      if (before && (before.size === size || before.next.line !== previous.line)) {
        throw wrong(size, "it does not go on from the rotation before it");
      }
    }
    const keys = chain.map(({ size, previous }) => ({ key: previous, until: BigInt(size) }));
    keys.push({ key: chain.at(-1)?.next ?? trusted, until: (1n << 64n) - 1n });
    const lines = keys.map(({ key }) => key.line);
    const first = chain[0]?.size ?? 0;
    if (!lines.includes(trusted.line)) throw wrong(first, "neither of its keys leads to the trusted one");
    if (new Set(lines).size < lines.length) throw wrong(first, "a key is used a second time");
    return new KeyHistory(keys);
  }

  /** Whether a key is one of the chain. */
  has(line: string): boolean {
    return this.keys.some(({ key }) => key.line === line);
  }

  /** The key in force for a checkpoint of this size. */
  at(size: bigint): PublicKey {
    const found = this.keys.find(({ until }) => size <= until);
    if (!found) throw new Error("the last key signs every size below 2^64");
    return found.key;
  }

  /** Checks that a checkpoint is signed by the key that was in force at its size. */
  async verify(checkpoint: Checkpoint): Promise<void> {
    const key = this.at(checkpoint.size);
    const other = this.keys.find((known) => known.key.line !== key.line && known.key.id === checkpoint.keyId);
    if (other) {
      throw new Error(
        `at size ${checkpoint.size} it is signed by ${other.key.line}, which was not the log's key then`,
      );
    }
    await verifyCheckpoint(checkpoint, key);
  }
}

function wrong(size: number, problem: string): Error {
  return new Error(`the change of the log's key at size ${size} does not hold: ${problem}`);
}
