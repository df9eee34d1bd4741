// Names of datapoints, and files for the reader to keep.
import type { Schemas } from "../api/client";

/** Hands a file to the reader. */
export function save(content: Uint8Array | Blob | string, name: string, type = "application/json"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content as BlobPart], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The best name that a datapoint has. */
export function titleOf(passage: Pick<Schemas["Candidate"], "id" | "metadata">): string {
  const metadata = passage.metadata as Record<string, unknown>;
  const { headings } = metadata;
  const under = Array.isArray(headings) ? headings.at(-1) : undefined;
  const named = [...["title", "headword", "heading", "name"].map((key) => metadata[key]), under];
  return named.find((value): value is string => typeof value === "string" && value !== "") ?? passage.id;
}
