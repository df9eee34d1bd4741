//! What a step of a verification finds: what it compared, or why it does not hold.

import { commitmentOf, type Opening } from "./bundle.ts";
import { climb, type Node } from "./merkle.ts";
import { quoted } from "./words.ts";

/** Two values that must be the same. */
export interface Comparison {
  /** What they are. */
  label: string;
  /** What was signed, logged or trusted. */
  expected: string;
  /** What was computed here or found in the file. */
  found: string;
}

/** What a step that holds has shown. */
export interface Finding {
  /** In plain words. */
  detail: string;
  /** What was compared. */
  values: Comparison[];
  /** The hashes computed on the way up a tree. */
  path?: Node[];
  /** Everything agrees, but with a key that nobody has confirmed. */
  unconfirmed?: boolean;
}

/** A step that does not hold. Its code is the one that `cairn verify --json` gives. */
export class Failure extends Error {
  override name = "Failure";
  readonly code: string;
  readonly values: Comparison[];
  readonly path: Node[] | undefined;

  constructor(code: string, message: string, values: Comparison[] = [], path?: Node[]) {
    super(message);
    this.code = code;
    this.values = values;
    this.path = path;
  }
}

/** Checks that an opening opens a commitment. */
export async function opens(opening: Opening, expected: string, name: string): Promise<Finding> {
  const found = await commitmentOf(opening);
  const values = [{ label: "commitment", expected, found }];
  if (found !== expected) {
    throw new Failure("opening_mismatch", `The ${name} shown is not the one that was committed to.`, values);
  }
  return { detail: `${quoted(opening.value)} gives the commitment that was logged.`, values };
}

/** Checks that a leaf is in a tree, by its audit path. */
export async function inTree(
  leaf: string,
  index: number,
  size: bigint,
  path: string[],
  expected: string,
  code: string,
  what: string,
): Promise<Omit<Finding, "detail">> {
  const { nodes, root } = await attempt(code, what, () => climb(leaf, BigInt(index), size, path));
  const values = [{ label: "root hash", expected, found: root }];
  if (root !== expected) throw new Failure(code, `${what}: the proof leads to another root.`, values, nodes);
  return { values, path: nodes };
}

/** Runs a check whose errors mean that the step fails. */
export async function attempt<T>(
  code: string,
  what: string,
  check: () => Promise<T>,
  values: Comparison[] = [],
): Promise<T> {
  try {
    return await check();
  } catch (error) {
    if (error instanceof Error && error.constructor === Error) {
      throw new Failure(code, sentence(`${what}: ${error.message}`), values);
    }
    throw error;
  }
}

/** A first letter in upper case, and a full stop. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
