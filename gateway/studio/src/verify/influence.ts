//! How much each passage mattered: the log entry that completes a record, and what must hold within it.

import type { Record } from "./entry.ts";
import { count, hash, list, type Of, object, oneOf, string, truth } from "./shape.ts";
import { isUtc } from "./time.ts";

const onSentence = object({ necessity: string, sufficiency: string }, { shapley: string, error: string });

/** The entry; its numbers are nats with six decimals. */
export const influence = object(
  {
    type: oneOf("cairn/influence/v1"),
    record: hash,
    id: string,
    method: oneOf("leave_one_out", "shapley", "sampled_shapley"),
    passage_chars: count,
    passages: list(count),
    sentences: list(
      object({
        choice: count,
        start: count,
        end: count,
        tokens: count,
        closed_book: string,
        with_all: string,
        passages: list(onSentence),
        supported: truth,
      }),
    ),
    shares: list(object({ contributor: hash, share: string, nats: string })),
    time: string,
  },
  { permutations: count },
);

export type InfluenceEntry = Of<typeof influence>;

/** Sums of six decimals may be off by as much. */
const ROUNDING = 1e-4;

/** Checks that the parts of an entry fit together. Throws with the first contradiction. */
export function checkInfluence(entry: InfluenceEntry): void {
  if (!isUtc(entry.time)) throw new Error(`time ${entry.time} is no time in UTC`);
  const rising = entry.passages.every((n, at) => at === 0 || (entry.passages[at - 1] as number) < n);
  if (entry.passages.length === 0 || !rising) throw new Error("its passages are none, or not in order");
  const sampled = entry.method === "sampled_shapley";
  if ((entry.permutations !== undefined) !== sampled) {
    throw new Error("orders are drawn where Shapley values are sampled, and only there");
  }
  let before = [0, 0];
  for (const { choice, start, end, closed_book, with_all, passages } of entry.sentences) {
    const place = `the part ${start} to ${end}`;
    const [lastChoice = 0, lastEnd = 0] = before;
    if (start >= end || choice < lastChoice || (choice === lastChoice && start < lastEnd)) {
      throw new Error(`${place} is empty or out of order`);
    }
    before = [choice, end];
    if (passages.length !== entry.passages.length) throw new Error(`${place} has not all passages`);
    let sum = 0;
    for (const { necessity, sufficiency, shapley, error } of passages) {
      number(necessity);
      number(sufficiency);
      if (
        (shapley === undefined) !== (entry.method === "leave_one_out") ||
        (error !== undefined) !== sampled
      ) {
        throw new Error(`${place} has not the numbers of its method`);
      }
      sum += shapley === undefined ? 0 : number(shapley);
      if (error !== undefined) number(error);
    }
    const gain = number(with_all) - number(closed_book);
    if (entry.method !== "leave_one_out" && Math.abs(sum - gain) > ROUNDING) {
      throw new Error(
        `the Shapley values of ${place} add up to ${sum.toFixed(6)}, not to ${gain.toFixed(6)}`,
      );
    }
  }
  for (const { share, nats } of entry.shares) {
    if (number(share) < 0 || number(share) > 1 || number(nats) < 0) throw new Error(`${share} is no share`);
  }
}

/** Checks that an entry is of this record, whose leaf hash is given, and that its shares follow. */
export function checkAgainst(entry: InfluenceEntry, record: Record, leaf: string): void {
  if (entry.record !== leaf || entry.id !== record.id) {
    throw new Error(`it is of answer ${entry.id}, record ${entry.record}, not of this one`);
  }
  const prompted = (record.retrieval?.candidates ?? []).flatMap(({ in_prompt }) =>
    in_prompt === null ? [] : [in_prompt],
  );
  prompted.sort((a, b) => a - b);
  if (prompted.join() !== entry.passages.join()) {
    throw new Error(`it measured passages ${entry.passages}, but ${prompted} were in the prompt`);
  }
  const helped = totals(entry).map((total) => Math.max(total, 0));
  const sum = helped.reduce((a, b) => a + b, 0);
  const expected = (record.uses ?? []).flatMap(({ contributor, passages }) => {
    const nats = passages.reduce((all, n) => all + (helped[entry.passages.indexOf(n)] ?? 0), 0);
    return nats > 0 ? [{ contributor, share: (nats / sum).toFixed(6), nats: nats.toFixed(6) }] : [];
  });
  const same = ({ contributor, share, nats }: (typeof expected)[number]) => `${contributor} ${share} ${nats}`;
  if (expected.map(same).join() !== entry.shares.map(same).join()) {
    throw new Error("its shares do not follow from its influences");
  }
}

/** Each passage's influence on the whole answer, in nats. */
export function totals(entry: InfluenceEntry): number[] {
  return entry.passages.map((_, at) =>
    entry.sentences.reduce((sum, { passages }) => {
      const one = passages[at];
      return sum + (one ? number(one.shapley ?? one.necessity) : 0);
    }, 0),
  );
}

/** A number with six decimals, written in the one way that is right. */
function number(text: string): number {
  const value = Number(text);
  if (!/^-?[0-9]+\.[0-9]{6}$/.test(text) || !Number.isFinite(value) || text === "-0.000000") {
    throw new Error(`${JSON.stringify(text)} is no number with six decimals`);
  }
  if (/^-?0[0-9]/.test(text)) throw new Error(`${JSON.stringify(text)} has a leading zero`);
  return value;
}
