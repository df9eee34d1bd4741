//! What a key file's text makes a reader trust, for pages that check a log's checkpoints themselves.

import { KeyHistory, parseKeyFile, type Trust } from "./trust.ts";

export type { Trust };

/** Reads a key file; its changes of key are checked, and given in their order. */
export async function trustOf(text: string): Promise<Trust> {
  const { key, rotations } = await parseKeyFile(text);
  return { key, rotations: rotations.toSorted((a, b) => a.size - b.size) };
}

/** Which key signed a log's checkpoints at which sizes, as far as a key file says it. */
export async function historyOf(text: string): Promise<KeyHistory> {
  const { key, rotations } = await parseKeyFile(text);
  return KeyHistory.of(key, rotations);
}
