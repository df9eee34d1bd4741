// Reads the little Markdown that models write, and keeps for each piece where it stands in the answer: citations are
// spans of the raw text, counted in Unicode scalar values, so nothing may be moved or dropped on the way.

export interface Run {
  start: number;
  end: number;
  style?: "strong" | "code";
}

export interface Block {
  kind: "text" | "item" | "heading" | "code";
  /** What stands before an item: a bullet or its number. */
  marker?: string;
  runs: Run[];
}

const FENCE = /^\s*```/;
const ITEM = /^(\s*)([-*•]|\d{1,3}[.)])\s+/;
const HEADING = /^#{1,6}\s+/;

/** Blocks of a text, given as an array of its Unicode scalar values. */
export function blocks(chars: readonly string[]): Block[] {
  const found: Block[] = [];
  let code: Run | null = null;
  let open: { start: number; end: number } | null = null;
  const close = () => {
    if (open) found.push({ kind: "text", runs: inline(chars, open.start, open.end) });
    open = null;
  };
  for (const [start, end] of lines(chars)) {
    const line = chars.slice(start, end).join("");
    if (FENCE.test(line)) {
      close();
      if (code) found.push({ kind: "code", runs: [code] });
      code = code ? null : { start: end + 1, end: end + 1 };
      continue;
    }
    if (code) {
      code.end = end;
      continue;
    }
    if (line.trim() === "") {
      close();
      continue;
    }
    const item = ITEM.exec(line);
    const heading = HEADING.exec(line);
    if (item || heading) {
      close();
      const lead = Array.from((item ?? heading)?.[0] ?? "").length;
      const runs = inline(chars, start + lead, end);
      const marker = item?.[2];
      found.push(
        item
          ? { kind: "item", marker: marker && /\d/.test(marker) ? marker : "•", runs }
          : { kind: "heading", runs },
      );
      continue;
    }
    open = open ? { start: (open as { start: number }).start, end } : { start, end };
  }
  close();
  if (code && code.end > code.start) found.push({ kind: "code", runs: [code] });
  return found;
}

function* lines(chars: readonly string[]): Generator<[number, number]> {
  let start = 0;
  for (let at = 0; at <= chars.length; at += 1) {
    if (at === chars.length || chars[at] === "\n") {
      yield [start, at];
      start = at + 1;
    }
  }
}

/** Runs of one style; the marks themselves are left out. */
function inline(chars: readonly string[], from: number, to: number): Run[] {
  const runs: Run[] = [];
  let plain = from;
  let at = from;
  const push = (start: number, end: number, style?: "strong" | "code") => {
    if (end > start) runs.push(style ? { start, end, style } : { start, end });
  };
  while (at < to) {
    const mark = chars[at] === "`" ? "`" : chars[at] === "*" && chars[at + 1] === "*" ? "**" : null;
    const end = mark ? ends(chars, at + mark.length, to, mark) : -1;
    if (mark && end > at + mark.length) {
      push(plain, at);
      push(at + mark.length, end, mark === "`" ? "code" : "strong");
      at = end + mark.length;
      plain = at;
    } else {
      at += mark?.length ?? 1;
    }
  }
  push(plain, to);
  return runs;
}

function ends(chars: readonly string[], from: number, to: number, mark: string): number {
  for (let at = from; at + mark.length <= to; at += 1) {
    if (chars[at] === mark[0] && (mark.length === 1 || chars[at + 1] === mark[1])) return at;
  }
  return -1;
}
