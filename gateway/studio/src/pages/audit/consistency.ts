// Whether one state of the log is the beginning of another: any two, each given by its checkpoint or its size alone.

import { type Checkpoint, parseCheckpoint } from "../../verify/checkpoint.ts";
import { historyOf } from "../../verify/key-text.ts";
import { type ReadTile, rootsOf } from "./tiles.ts";

/** A state of the log, as a reader gave it. */
interface State {
  size: number;
  /** What was signed; none where only the size was given. */
  checkpoint: Checkpoint | null;
}

/** What was found: both sizes, and the roots over so many entries. */
export interface Consistent {
  from: number;
  to: number;
  fromRoot: string;
  toRoot: string;
  /** Whether both were signed, and not only counted. */
  signed: boolean;
}

/**
 * Checks signatures, then roots, all from the tiles of the present log `now`. Throws with what does not hold. `key` is the
 * text of a key file: after a change of key each checkpoint must be signed by the key that was in force at its size.
 */
export async function consistent(
  texts: { earlier: string; later: string; now: string; key: string },
  read: ReadTile,
): Promise<Consistent> {
  const keys = await historyOf(texts.key);
  const present = parseCheckpoint(texts.now);
  await keys.verify(present);
  const size = Number(present.size);
  const states = [state(texts.earlier, "earlier"), state(texts.later, "later")] as const;
  for (const { checkpoint } of states) if (checkpoint) await keys.verify(checkpoint);
  const [from, to] = [states[0].size, states[1].size];
  const beyond = Math.max(from, to);
  if (beyond > size) {
    throw new Error(
      states.some((one) => one.size === beyond && one.checkpoint)
        ? `A checkpoint says ${beyond} entries and the present one ${size}: the log has shrunk.`
        : `The log has ${size} entries; ${beyond} are more than there are.`,
    );
  }
  if (from > to) throw new Error(`The earlier state has ${from} entries and the later one ${to}: swap them.`);
  const [fromRoot = "", toRoot = "", nowRoot] = await rootsOf([from, to, size], size, read);
  if (nowRoot !== present.root)
    throw new Error("The log’s entries do not lead to the root that its checkpoint signs.");
  for (const [one, root] of [
    [states[0], fromRoot],
    [states[1], toRoot],
  ] as const) {
    if (one.checkpoint && one.checkpoint.root !== root) {
      throw new Error(
        `The first ${one.size} entries are no longer those of the checkpoint that was signed: the log was rewritten.`,
      );
    }
  }
  return { from, to, fromRoot, toRoot, signed: states.every(({ checkpoint }) => checkpoint !== null) };
}

function state(text: string, which: string): State {
  const trimmed = text.trim();
  if (/^\d{1,15}$/.test(trimmed)) return { size: Number(trimmed), checkpoint: null };
  if (trimmed === "") throw new Error(`Give the ${which} state: a checkpoint, or a number of entries.`);
  // What is pasted may have lost its last line break.
  const checkpoint = parseCheckpoint(text.endsWith("\n") ? text : `${text}\n`);
  return { size: Number(checkpoint.size), checkpoint };
}
