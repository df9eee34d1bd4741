// Which parts of an answer a measurement found to rest on a passage.
import type { Schemas } from "../api/client";

/** Sentences that a passage made likelier, as the marks of an answer take them. */
export function supports(data: Schemas["Influence"] | null | undefined): Schemas["Citation"][] {
  if (data?.status !== "measured") return [];
  return data.sentences
    .filter(({ supported }) => supported)
    .map(({ choice, start, end }) => ({ choice, start, end, n: 0, kind: "marker", score: 1 }));
}
