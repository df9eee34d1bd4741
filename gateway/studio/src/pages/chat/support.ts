// Which sentences of an answer rest on a passage, and where the chips [n] stand. Offsets are Unicode scalar values.
import type { Schemas } from "../../api/client";

type Citation = Pick<Schemas["Citation"], "choice" | "n" | "start" | "end" | "kind">;

export interface Sentence {
  start: number;
  end: number;
  supported: boolean;
}

/** A chip: shown instead of [start, end) where the model wrote a marker, else inserted there. */
export interface Chip {
  start: number;
  end: number;
  n: number[];
}

/** Sentences of [from, to). Too short ones claim nothing and count as supported. */
export function sentences(
  chars: readonly string[],
  from: number,
  to: number,
  citations: readonly Citation[],
): Sentence[] {
  const text = chars.slice(from, to).join("");
  const segments = new Intl.Segmenter("en", { granularity: "sentence" }).segment(text);
  let at = from;
  const found: Sentence[] = [];
  for (const { segment } of segments) {
    const end = at + Array.from(segment).length;
    const claims = (segment.match(/[\p{L}\p{N}]+/gu) ?? []).length >= 4;
    const cited = citations.some((citation) => citation.start < end && citation.end > at);
    found.push({ start: at, end, supported: cited || !claims });
    at = end;
  }
  return found;
}

/** Chips in order: markers where the model wrote them; a sentence that repeats a passage gets one at its end. */
export function chips(chars: readonly string[], citations: readonly Citation[], passages: number): Chip[] {
  const found: Chip[] = [];
  const text = chars.join("");
  for (const match of text.matchAll(/\[(\d+(?:\s*,\s*\d+)*)\]/g)) {
    const start = Array.from(text.slice(0, match.index)).length;
    const n = (match[1] ?? "").split(",").map(Number);
    const known = [...new Set(n.filter((number) => number >= 1 && number <= passages))];
    if (known.length > 0) found.push({ start, end: start + match[0].length, n: known });
  }
  for (const citation of citations) {
    if (citation.kind !== "overlap") continue;
    const near = found.find((chip) => chip.start >= citation.start && chip.start <= citation.end + 1);
    if (!near) {
      // Marks of style that close the sentence are not shown, so nothing can stand behind them.
      let end = citation.end;
      while (end > citation.start && /[*`]/.test(chars[end - 1] ?? "")) end -= 1;
      found.push({ start: end, end, n: [citation.n] });
    } else if (near.start === near.end && !near.n.includes(citation.n)) near.n.push(citation.n);
  }
  return found.sort((a, b) => a.start - b.start);
}
