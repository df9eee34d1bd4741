// Where an answer's wording stands in a passage: every sequence of three words that both have, by the same rule that the
// gateway counts overlaps with.

export interface Span {
  start: number;
  end: number;
}

interface Word extends Span {
  text: string;
}

/** Spans of the passage (UTF-16 offsets) whose words the given parts of the answer repeat. */
export function repeated(passage: string, parts: readonly string[]): Span[] {
  const known = new Set(parts.flatMap((part) => threes(words(part)).map(key)));
  const own = words(passage);
  const used = new Set<number>();
  threes(own).forEach((three, at) => {
    if (known.has(key(three))) for (const place of [at, at + 1, at + 2]) used.add(place);
  });
  return merged(own, (_, place) => used.has(place));
}

/** Spans of words that are among the given terms, or begin with one: full text search compares stems. */
export function matching(passage: string, terms: readonly string[]): Span[] {
  const wanted = terms.map((term) => term.toLowerCase());
  const fits = (word: string, term: string) => word === term || (term.length > 3 && word.startsWith(term));
  return words(passage).filter((word) => wanted.some((term) => fits(word.text, term)));
}

function words(text: string): Word[] {
  return [...text.matchAll(/[\p{L}\p{N}]+(?:['’.][\p{L}\p{N}]+)*/gu)].map((match) => ({
    text: match[0].toLowerCase(),
    start: match.index,
    end: match.index + match[0].length,
  }));
}

function threes(all: Word[]): Word[][] {
  return all.slice(2).map((_, at) => all.slice(at, at + 3));
}

function key(three: Word[]): string {
  return three.map((word) => word.text).join(" ");
}

/** Neighbouring words become one span. */
function merged(all: Word[], chosen: (word: Word, place: number) => boolean): Span[] {
  const spans: Span[] = [];
  let last = -2;
  all.forEach((word, place) => {
    if (!chosen(word, place)) return;
    const open = spans.at(-1);
    if (open && last === place - 1) open.end = word.end;
    else spans.push({ start: word.start, end: word.end });
    last = place;
  });
  return spans;
}
