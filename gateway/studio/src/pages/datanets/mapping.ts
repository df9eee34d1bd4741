// Which column of a CSV file is which field of a datapoint. A file whose header already speaks the gateway's names is
// sent as it is; any other is rewritten as JSON lines here, before it is sent.
import { parseCsv } from "./csv.ts";

export const FIELDS = ["text", "id", "contributor", "contributed_at", "source", "licence"] as const;
export type Field = (typeof FIELDS)[number];

/** The column of each field; what no field names becomes metadata. */
export type Mapping = Partial<Record<Field, string>>;

const ALSO: Record<Field, string[]> = {
  text: ["text", "content", "body", "passage", "answer", "description"],
  id: ["id", "key", "identifier"],
  contributor: ["contributor", "author", "by", "creator", "name"],
  contributed_at: ["contributed_at", "date", "created", "created_at"],
  source: ["source", "url", "link"],
  licence: ["licence", "license"],
};

/** A first guess, by the columns' names. */
export function guess(header: readonly string[]): Mapping {
  const found: Mapping = {};
  for (const field of FIELDS) {
    const column = ALSO[field]
      .map((name) => header.find((one) => one.trim().toLowerCase() === name))
      .find((one) => one !== undefined);
    if (column !== undefined) found[field] = column;
  }
  return found;
}

/** Whether the gateway would read the file's columns in the same way by itself. */
export function asItIs(mapping: Mapping, header: readonly string[]): boolean {
  return FIELDS.every((field) => mapping[field] === (header.includes(field) ? field : undefined));
}

/** One row as a datapoint. */
export function datapoint(
  header: readonly string[],
  row: readonly string[],
  mapping: Mapping,
): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const metadata: Record<string, string> = {};
  header.forEach((column, place) => {
    const value = row[place] ?? "";
    const field = FIELDS.find((one) => mapping[one] === column);
    if (field) {
      if (value !== "" || field === "text") fields[field] = value;
    } else if (value !== "") metadata[column] = value;
  });
  return Object.keys(metadata).length > 0 ? { ...fields, metadata } : fields;
}

/** The whole file as JSON lines. */
export function rewritten(csv: string, mapping: Mapping): string {
  const [header = [], ...rows] = parseCsv(csv);
  return rows.map((row) => JSON.stringify(datapoint(header, row, mapping))).join("\n");
}
