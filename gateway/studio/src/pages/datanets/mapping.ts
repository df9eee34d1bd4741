// Which column of a table is which field of a datapoint.

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
export function guess(columns: readonly string[]): Mapping {
  const found: Mapping = {};
  for (const field of FIELDS) {
    const column = ALSO[field]
      .map((name) => columns.find((one) => one.trim().toLowerCase() === name))
      .find((one) => one !== undefined);
    if (column !== undefined) found[field] = column;
  }
  return found;
}

/** The mapping as the gateway takes it; none where every column already has its field's name. */
export function asParameter(mapping: Mapping): string | undefined {
  const named = Object.entries(mapping).filter(([field, column]) => field !== column);
  return named.length > 0 ? JSON.stringify(Object.fromEntries(named)) : undefined;
}
