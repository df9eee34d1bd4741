// Scores and ranks, drawn: what meaning and wording each said, and what came of both.
import type { Schemas } from "../api/client";
import { plural } from "../ui/text";
import { titleOf } from "./names";

type Why = Schemas["Why"];

/** One datapoint's scores as bars. The full-text score has no upper bound, so its bar is relative to `best`. */
export function Scores({ why, best }: { why: Why; best?: number }) {
  const text = why.text_score ?? null;
  return (
    <div className="scores">
      <Score
        label="Meaning"
        hint="cosine similarity of the embeddings"
        value={why.vector_score}
        max={1}
        rank={why.vector_rank}
      />
      <Score
        label="Wording"
        hint="BM25 of the words they share"
        value={text}
        max={best ?? Math.max(text ?? 0, 20)}
        rank={why.text_rank}
      />
      <Score
        label="Together"
        hint="weighted sum of both"
        value={why.fused_score}
        max={1}
        rank={why.rank}
        strong
      />
      {typeof why.rerank_score === "number" && (
        <Score
          label="Read again"
          hint="late interaction or a cross-encoder, as the record says"
          value={why.rerank_score}
          max={Math.max(1, why.rerank_score)}
          rank={why.rank}
        />
      )}
      {why.matched_terms.length > 0 && (
        <p className="score-terms">
          <span className="quiet">Words matched</span>
          {why.matched_terms.map((term) => (
            <span key={term} className="term">
              {term}
            </span>
          ))}
        </p>
      )}
    </div>
  );
}

function Score({
  label,
  hint,
  value,
  max,
  rank,
  strong,
}: {
  label: string;
  hint: string;
  value: number | null | undefined;
  max: number;
  rank: number | null | undefined;
  strong?: boolean;
}) {
  const known = value !== null && value !== undefined;
  return (
    <div className="score" data-strong={strong || undefined}>
      <span title={hint}>{label}</span>
      <div className="score-track" aria-hidden>
        <div
          className="score-fill"
          style={{ width: `${known ? Math.min(100, Math.max(0, (value / max) * 100)) : 0}%` }}
        />
      </div>
      <span className="numbers score-value">{known ? value.toFixed(value >= 10 ? 1 : 2) : "–"}</span>
      <span className="numbers quiet score-rank">{rank ? `rank ${rank}` : "not found"}</span>
    </div>
  );
}

/** The candidates in their order, each with a small bar; those in the prompt are told apart. */
export function Candidates({
  candidates,
  passages,
}: {
  candidates: Schemas["Candidate"][];
  passages: Pick<Schemas["Passage"], "datanet" | "id" | "n">[];
}) {
  const placed = new Map(passages.map((passage) => [`${passage.datanet}/${passage.id}`, passage.n]));
  return (
    <>
      <p className="quiet small candidates-lead">
        {plural(candidates.length, "candidate")}, best first; {passages.length} entered the prompt.
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <ol className="candidates" aria-label="Candidates" tabIndex={0}>
        {candidates.map((candidate) => {
          const n = placed.get(`${candidate.datanet}/${candidate.id}`);
          return (
            <li key={`${candidate.datanet}/${candidate.id}`} data-in={n !== undefined || undefined}>
              <span className="numbers quiet">{candidate.why.rank}</span>
              <span
                className="truncate"
                title={`${candidate.datanet}: ${candidate.id}, by ${candidate.contributor}`}
              >
                {titleOf(candidate)}
              </span>
              <span className="score-track" aria-hidden>
                <span
                  className="score-fill"
                  style={{ width: `${Math.min(100, candidate.why.fused_score * 100)}%` }}
                />
              </span>
              <span className="numbers score-value">{candidate.why.fused_score.toFixed(2)}</span>
              <span className="candidate-n">
                {n !== undefined && (
                  <span className="chip" title="In the prompt">
                    {n}
                  </span>
                )}
              </span>
            </li>
          );
        })}
      </ol>
    </>
  );
}
