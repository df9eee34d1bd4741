// An answer as it reads: light Markdown, citations as chips, sentences without support marked.
import { Fragment, type ReactNode, useMemo } from "react";
import type { Schemas } from "../../api/client";
import { type Block, blocks, type Run } from "./markup";
import { type Chip, chips, sentences } from "./support";

interface Given {
  text: string;
  citations?: Schemas["Citation"][];
  /** Spans that a passage made likelier, cited or not. */
  supported?: Schemas["Citation"][];
  /** Passages that were in the prompt; 0 = none, and nothing is marked. */
  passages: number;
  chosen?: number | null;
  onCite?: (n: number) => void;
}

export function AnswerText({ text, citations, supported = [], passages, chosen = null, onCite }: Given) {
  const parsed = useMemo(() => {
    const chars = Array.from(text);
    const own = (citations ?? []).filter((citation) => citation.choice === 0);
    return { chars, own, blocks: blocks(chars), chips: onCite ? chips(chars, own, passages) : [] };
  }, [text, citations, passages, onCite]);
  const marks = onCite !== undefined && passages > 0;
  const chip = (one: Chip, key: string) => (
    <Fragment key={key}>
      {one.n.map((n) => (
        <button
          key={n}
          type="button"
          className="chip"
          aria-label={`Source ${n}`}
          aria-pressed={chosen === n}
          onClick={() => onCite?.(n)}
        >
          {n}
        </button>
      ))}
    </Fragment>
  );
  const content = (block: Block): ReactNode[] => {
    const first = block.runs[0];
    const last = block.runs.at(-1);
    if (!first || !last) return [];
    const parts = marks
      ? sentences(parsed.chars, first.start, last.end, [...parsed.own, ...supported])
      : [{ start: first.start, end: last.end, supported: true }];
    return parts.map((part) => {
      const inside = pieces(block.runs, part.start, part.end, parsed, chip);
      return part.supported ? (
        <Fragment key={part.start}>{inside}</Fragment>
      ) : (
        <span key={part.start} className="unsupported">
          {inside}
        </span>
      );
    });
  };
  return (
    <div className="answer-text">
      {grouped(parsed.blocks).map((group, place) => {
        const key = `${place}`;
        if (group.items) {
          return (
            <ul key={key}>
              {group.items.map((block) => (
                <li key={block.runs[0]?.start ?? key}>
                  <span className="item-marker" aria-hidden>
                    {block.marker}
                  </span>
                  <span>{content(block)}</span>
                </li>
              ))}
            </ul>
          );
        }
        const { block } = group;
        if (block.kind === "code") {
          const [run] = block.runs;
          return <pre key={key}>{run && parsed.chars.slice(run.start, run.end).join("")}</pre>;
        }
        return block.kind === "heading" ? (
          <p key={key} className="answer-heading">
            {content(block)}
          </p>
        ) : (
          <p key={key}>{content(block)}</p>
        );
      })}
    </div>
  );
}

/** The part of the runs within [from, to), cut where chips stand. */
function pieces(
  runs: Run[],
  from: number,
  to: number,
  { chars, chips: all }: { chars: string[]; chips: Chip[] },
  chip: (one: Chip, key: string) => ReactNode,
): ReactNode[] {
  const found: ReactNode[] = [];
  const styled = (start: number, end: number, style: Run["style"]) => {
    if (end <= start) return;
    const text = chars.slice(start, end).join("");
    if (style === "strong") found.push(<strong key={start}>{text}</strong>);
    else if (style === "code") found.push(<code key={start}>{text}</code>);
    else found.push(<Fragment key={start}>{text}</Fragment>);
  };
  for (const run of runs) {
    let at = Math.max(run.start, from);
    const end = Math.min(run.end, to);
    for (const one of all) {
      // An inserted chip stands behind its sentence: it belongs to the part that it ends.
      const inside =
        one.start === one.end ? one.start > at && one.start <= end : one.start >= at && one.start < end;
      if (!inside) continue;
      styled(at, one.start, run.style);
      found.push(chip(one, `chip-${one.start}`));
      at = Math.max(one.end, one.start);
    }
    styled(at, end, run.style);
  }
  return found;
}

type Group = { items: Block[]; block?: never } | { items?: never; block: Block };

/** Items that follow each other are one list. */
function grouped(all: Block[]): Group[] {
  const groups: Group[] = [];
  for (const block of all) {
    const last = groups.at(-1);
    if (block.kind === "item" && last?.items) last.items.push(block);
    else groups.push(block.kind === "item" ? { items: [block] } : { block });
  }
  return groups;
}
