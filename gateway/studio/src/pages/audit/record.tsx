// A record: the question, the answer with its citations, and the trail of each.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, type Schemas } from "../../api/client";
import { attribution } from "../../api/queries";
import { supports } from "../../trail/supported";
import { Trail } from "../../trail/trail";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Ago, Hash } from "../../ui/text";
import { AnswerText } from "../chat/answer-text";
import { PublicRecord } from "./public-record";
import "../chat/chat.css";

/** What the studio reads of a stored request and response; the API's description leaves them open. */
interface Request {
  messages?: { role: string; content: string | { text?: string }[] | null }[];
  prompt?: string | string[];
}

interface Response {
  choices?: { message?: { content: string }; text?: string }[];
}

interface Entry {
  model?: string;
  time?: string;
  endpoint?: string;
  base_weights?: string;
  adapter_generation?: string | null;
}

export function RecordView({ id }: { id: string }) {
  const { data, error } = useQuery(attribution(id));
  const [n, setN] = useState<number | null>(null);
  // Whose data was drawn on may read the log's entry, and no more.
  if (error instanceof ApiError && error.status === 404) return <PublicRecord id={id} missing={error} />;
  if (error) return <ErrorNote error={error} />;
  if (!data) return <Waiting lines={6} />;
  const entry = data.record as Entry;
  const answer = answerOf(data);
  const first = data.attribution.datapoints[0]?.n;
  const shown = n ?? first ?? null;
  return (
    <div className="record">
      <article className="card card-pad stack">
        <dl className="facts">
          <dt>Answered</dt>
          <dd>
            <Ago at={data.created_at} />
          </dd>
          <dt>Model</dt>
          <dd>{entry.model}</dd>
          {entry.base_weights && (
            <>
              <dt>Weights</dt>
              <dd>
                <Hash value={entry.base_weights} label="hash of the weights" />
              </dd>
            </>
          )}
          {entry.adapter_generation && (
            <>
              <dt>Adapter</dt>
              <dd>
                <Hash value={entry.adapter_generation} label="generation of the adapter" />
              </dd>
            </>
          )}
          <dt>Record</dt>
          <dd className="numbers">{data.attribution.receipt.index}</dd>
        </dl>
        <h2 className="record-question">{questionOf(data)}</h2>
        <div className="answer">
          <AnswerText
            text={answer}
            passages={data.attribution.datapoints.length}
            citations={data.attribution.citations}
            supported={supports(data.attribution.influence)}
            chosen={shown}
            onCite={setN}
          />
        </div>
        {first === undefined && <Note>No datanet was searched for this answer, so it cites nothing.</Note>}
      </article>
      {shown !== null && (
        <aside className="card record-trail">
          <Trail attribution={data.attribution} answer={answer} n={shown} onSelect={setN} />
        </aside>
      )}
    </div>
  );
}

function questionOf(record: Schemas["AttributionRecord"]): string {
  const { messages, prompt } = record.request as Request;
  const content = messages?.findLast((message) => message.role === "user")?.content;
  if (typeof content === "string") return content;
  if (content) return content.map((part) => part.text ?? "").join("");
  return Array.isArray(prompt) ? prompt.join("\n") : (prompt ?? "");
}

function answerOf(record: Schemas["AttributionRecord"]): string {
  const [choice] = (record.response as Response).choices ?? [];
  return choice?.message?.content ?? choice?.text ?? "";
}
