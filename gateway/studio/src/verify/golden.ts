//! For tests: the golden bundle, and changes to it. Imports Node, so no page may import it.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { utf8 } from "./bytes.ts";
import { canonical, type Json } from "./canonical.ts";

/** The bytes of a golden file of `index/proof`. */
export function golden(name: string): Uint8Array {
  let root = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(root, "index/proof/tests/golden")) && root !== path.dirname(root)) {
    root = path.dirname(root);
  }
  return readFileSync(
    path.join(process.env.CAIRN_PROOF_GOLDEN ?? path.join(root, "index/proof/tests/golden"), name),
  );
}

/** A bundle that is about to be spoiled: no type would hold. */
// biome-ignore lint/suspicious/noExplicitAny: tampering is what types forbid
export type Spoiled = any;

/** The golden bundle after a change to its JSON, in canonical form again. */
export function edited(change: (bundle: Spoiled) => void): Uint8Array {
  const bundle = JSON.parse(new TextDecoder().decode(golden("bundle.json")));
  change(bundle);
  return utf8(`${canonical(bundle)}\n`);
}

/** The golden bundle with the value at a JSON pointer replaced. */
export function changed(pointer: string, value: Json): Uint8Array {
  const keys = pointer.split("/").slice(1);
  const last = keys.pop() as string;
  return edited((bundle) => {
    let at = bundle;
    for (const key of keys) at = at[key];
    at[last] = value;
  });
}
