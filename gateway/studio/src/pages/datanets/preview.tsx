// The first rows of a file, read in the browser, so that a wrong format shows before anything is sent.
import { useEffect, useState } from "react";
import type { operations } from "../../api/schema";
import { Note } from "../../ui/feedback";
import { parseCsv } from "./csv";
import { datapoint, type Mapping } from "./mapping";

export type Format = operations["ingest"]["parameters"]["query"]["format"];

const ENDINGS: [RegExp, Format][] = [
  [/\.(jsonl|ndjson)$/i, "jsonl"],
  [/\.csv$/i, "csv"],
  [/\.(md|markdown)$/i, "markdown"],
  [/\.txt$/i, "text"],
  [/\.(index|dict|dict\.dz)$/i, "dictd"],
];

/** The format that the files' names speak of. */
export function formatOf(files: File[]): Format | undefined {
  const name = files[0]?.name ?? "";
  return ENDINGS.find(([ending]) => ending.test(name))?.[1];
}

/** Enough for a few rows of any file. */
export const HEAD = 64 * 1024;
const ROWS = 3;

interface Row {
  text: string;
  facts: [string, string][];
}

export function Preview({ files, format, mapping }: { files: File[]; format: Format; mapping: Mapping }) {
  const [rows, setRows] = useState<Row[] | string>([]);
  useEffect(() => {
    let current = true;
    void read(files, format, mapping).then((next) => current && setRows(next));
    return () => {
      current = false;
    };
  }, [files, format, mapping]);
  if (typeof rows === "string") return <Note tone="warn">{rows}</Note>;
  if (rows.length === 0) return null;
  return (
    <div className="stack-s">
      <h3>{format === "jsonl" || format === "csv" ? "The first rows" : "How it begins"}</h3>
      <ul className="preview">
        {rows.map((row, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: rows of a preview never move
          <li key={place}>
            <p className="preview-text">{row.text}</p>
            {row.facts.length > 0 && (
              <p className="quiet small">
                {row.facts.map(([name, value]) => `${name}: ${value}`).join(" · ")}
              </p>
            )}
          </li>
        ))}
      </ul>
    </div>
  );
}

async function read(files: File[], format: Format, mapping: Mapping): Promise<Row[] | string> {
  if (format === "dictd") {
    return files.length === 2
      ? []
      : "A dictd dictionary is two files: choose the .index and the .dict or .dict.dz together.";
  }
  const [file] = files;
  if (!file) return [];
  if (files.length > 1) return "Choose one file of this format at a time.";
  const text = await file.slice(0, HEAD).text();
  if (format === "jsonl") return jsonl(text);
  if (format === "csv") return csv(text, mapping);
  const begin = text.trim().slice(0, 400);
  return begin ? [{ text: begin, facts: [] }] : "The file is empty.";
}

function jsonl(text: string): Row[] | string {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  try {
    return lines.slice(0, ROWS).map((line) => {
      const { text: own, ...rest } = JSON.parse(line) as Record<string, unknown>;
      if (typeof own !== "string") throw new Error("no text");
      return { text: own, facts: Object.entries(rest).map(([name, value]) => [name, shown(value)]) };
    });
  } catch {
    return "A line of JSON is expected for each datapoint, with at least “text”. The first lines are not that.";
  }
}

function csv(text: string, mapping: Mapping): Row[] | string {
  const [header, ...rows] = parseCsv(text);
  if (!header) return "The file is empty.";
  if (!mapping.text) return "Say which column holds the text.";
  return rows.slice(0, ROWS).map((row) => {
    const { text: own, metadata, ...rest } = datapoint(header, row, mapping);
    const facts = Object.entries({ ...rest, ...(metadata as object | undefined) });
    return { text: String(own ?? ""), facts: facts.map(([name, value]) => [name, shown(value)]) };
  });
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
