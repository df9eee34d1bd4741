// Lines of usage, added up.
import type { Schemas } from "../../api/client";

export type Line = Schemas["UsageLine"];
export type By = "subject" | "model" | "day" | "key";

/** Lines that share what they are summed by, added up; most tokens first, days latest first. */
export function summed(
  lines: Line[],
  by: By,
): { name: string; requests: number; read: number; written: number }[] {
  const sums = new Map<string, { name: string; requests: number; read: number; written: number }>();
  for (const line of lines) {
    const name = line[by] ?? "no key";
    const sum = sums.get(name) ?? { name, requests: 0, read: 0, written: 0 };
    sum.requests += line.requests;
    sum.read += line.prompt_tokens;
    sum.written += line.completion_tokens;
    sums.set(name, sum);
  }
  const all = [...sums.values()];
  return by === "day"
    ? all.sort((a, b) => (a.name < b.name ? 1 : -1))
    : all.sort((a, b) => b.read + b.written - (a.read + a.written) || b.requests - a.requests);
}
