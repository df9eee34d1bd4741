//! The proof bundle: its members, its openings, and the words that its citations span.

import { grant, terms } from "./access.ts";
import { anchorProof } from "./anchor.ts";
import { fromHex, hex, utf8 } from "./bytes.ts";
import { canonical, type Json } from "./canonical.ts";
import { hmac } from "./crypto.ts";
import { type Citation, datapoint, record, rotation, tombstone } from "./entry.ts";
import { influence } from "./influence.ts";
import { any, count, filled, hash, list, nullable, type Of, object, oneOf, string } from "./shape.ts";

const opening = object({ salt: hash, value: any });

const datapointProof = object(
  {
    n: nullable(count),
    commitment: datapoint,
    inclusion: object({ index: count, size: count, path: list(hash) }),
    disclosed: object({}, { text: opening, contributor: opening, source: opening, metadata: opening }),
    status: oneOf("disclosed", "withheld", "erased"),
  },
  { erased: object({ index: count, path: list(hash), tombstone }) },
);

/** A grant under which a datanet was searched, and its place in the log. */
const grantProof = object(
  { datanet: string, entry: grant, index: count, path: list(hash) },
  { terms: object({ entry: terms, index: count, path: list(hash) }), subject: opening },
);

/** One answer with everything that proves it. */
export const bundle = object(
  {
    type: oneOf("cairn/bundle/v1"),
    key: string,
    record,
    log: object(
      { index: count, path: list(hash), checkpoint: string },
      {
        witnesses: filled(string),
        rotations: filled(object({ path: list(hash), rotation })),
        anchor: anchorProof,
      },
    ),
    datapoints: list(datapointProof),
    openings: object(
      {},
      { request: opening, response: opening, query: opening, caller: opening, filter: opening },
    ),
  },
  {
    influence: object({ index: count, path: list(hash), entry: influence }),
    grants: filled(grantProof),
  },
);

export type Bundle = Of<typeof bundle>;
export type DatapointProof = Of<typeof datapointProof>;
export type GrantProof = Of<typeof grantProof>;
export type Opening = Of<typeof opening>;

/** The personal fields of a datapoint, in the order in which they are checked. */
export const FIELDS = ["text", "contributor", "source", "metadata"] as const;

/** What can be opened of a record, in the order in which it is checked. */
export const OPENINGS = ["request", "response", "query", "caller", "filter"] as const;

/** `HMAC-SHA256(salt, canonical JSON of the value)`: the commitment that an opening opens. */
export async function commitmentOf(opening: Opening): Promise<string> {
  return hex(await hmac(fromHex(opening.salt), utf8(canonical(opening.value))));
}

/** Why a citation does not lie within the response. */
export class OutsideResponse extends Error {
  override name = "OutsideResponse";
  /** The code that the other verifiers give. */
  readonly code: "no_such_choice" | "citation_outside";

  constructor(code: "no_such_choice" | "citation_outside", message: string) {
    super(message);
    this.code = code;
  }
}

/** The words of the response that a citation spans. Offsets count Unicode scalar values. */
export function citedWords(response: Json, citation: Citation): string {
  const choices = member(response, "choices", response);
  const choice = Array.isArray(choices) ? choices[citation.choice] : undefined;
  // Where there is a `message.content`, `text` is not looked at, even if the content is null.
  const text = member(member(choice, "message"), "content", member(choice, "text"));
  if (typeof text !== "string") {
    throw new OutsideResponse("no_such_choice", `the response has no text for choice ${citation.choice}`);
  }
  const characters = Array.from(text);
  if (citation.end > characters.length) {
    const problem = `it spans ${citation.start} to ${citation.end}, but the text has ${characters.length} characters`;
    throw new OutsideResponse("citation_outside", problem);
  }
  return characters.slice(citation.start, citation.end).join("");
}

/** A member of an object, or `otherwise` where there is none; a member that is `null` is there. */
function member(value: Json | undefined, key: string, otherwise?: Json): Json | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return otherwise;
  return Object.hasOwn(value, key) ? value[key] : otherwise;
}
