// One question and its answers: one, or two side by side.
import { useQuery } from "@tanstack/react-query";
import { Pencil, RotateCcw } from "lucide-react";
import { type FormEvent, useEffect, useState } from "react";
import { influence } from "../../api/queries";
import { titleOf } from "../../trail/names";
import { supports } from "../../trail/supported";
import { Button, IconButton } from "../../ui/button";
import { ErrorNote, Spinner } from "../../ui/feedback";
import { CopyButton, plural } from "../../ui/text";
import { AnswerText } from "./answer-text";
import type { Opened } from "./chat";
import type { Answer, Turn } from "./store";

interface Given {
  turn: Turn;
  opened: Opened | null;
  onOpen: (answer: number, n: number) => void;
  /** Something else is asked in its place. */
  onEdit: (question: string) => void;
  /** One of its answers is wanted anew. */
  onAgain: (answer: number) => void;
}

export function TurnView({ turn, opened, onOpen, onEdit, onAgain }: Given) {
  return (
    <article className="turn">
      <Question question={turn.question} onEdit={onEdit} />
      <div className="answers" data-two={turn.answers.length > 1 || undefined}>
        {turn.answers.map((answer, index) => (
          <AnswerView
            // biome-ignore lint/suspicious/noArrayIndexKey: an answer is its place in the turn
            key={index}
            answer={answer}
            named={turn.answers.length > 1}
            chosen={opened?.answer === index ? opened.n : null}
            onOpen={(n) => onOpen(index, n)}
            onAgain={() => onAgain(index)}
          />
        ))}
      </div>
    </article>
  );
}

function Question({ question, onEdit }: { question: string; onEdit: (question: string) => void }) {
  const [text, setText] = useState<string | null>(null);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text?.trim()) onEdit(text.trim());
    setText(null);
  };
  if (text !== null) {
    return (
      <form className="question-edit" onSubmit={submit}>
        <textarea
          className="input"
          aria-label="Edit the question"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <div className="row">
          <Button small type="submit" look="primary" className="push" disabled={!text.trim()}>
            Ask again
          </Button>
          <Button small onClick={() => setText(null)}>
            Cancel
          </Button>
        </div>
      </form>
    );
  }
  return (
    <div className="question">
      <IconButton
        small
        label="Edit the question"
        className="question-action"
        onClick={() => setText(question)}
      >
        <Pencil size={14} />
      </IconButton>
      <h2 className="question-text">{question}</h2>
    </div>
  );
}

function AnswerView({
  answer,
  named,
  chosen,
  onOpen,
  onAgain,
}: {
  answer: Answer;
  named: boolean;
  chosen: number | null;
  onOpen: (n: number) => void;
  onAgain: () => void;
}) {
  const { attribution, state } = answer;
  const passages = attribution?.datapoints ?? [];
  const going = state === "waiting" || state === "streaming";
  const measured = useQuery({
    ...influence(attribution?.id ?? ""),
    enabled: state === "done" && passages.length > 0,
  }).data;
  return (
    <div className="answer" aria-busy={going}>
      {named && (
        <div className="answer-name">
          {answer.choice.model}
          {answer.choice.adapter && <span className="answer-adapter">{answer.choice.adapter}</span>}
        </div>
      )}
      {state === "waiting" && <Thinking since={answer.startedAt} />}
      {answer.text && (
        <AnswerText
          text={answer.text}
          passages={passages.length}
          chosen={chosen}
          supported={supports(measured)}
          {...(attribution ? { citations: attribution.citations, onCite: onOpen } : {})}
        />
      )}
      {state === "streaming" && <span className="caret" aria-hidden />}
      {state === "failed" && <ErrorNote error={answer.error} />}
      {state === "stopped" && (
        <p className="quiet small">Stopped. What is stopped has no record and no sources.</p>
      )}
      {passages.length > 0 && (
        <ul className="sources" aria-label="Sources">
          {passages.map((passage) => (
            <li key={passage.n}>
              <button
                type="button"
                className="source"
                aria-pressed={chosen === passage.n}
                data-cited={passage.cited || undefined}
                onClick={() => onOpen(passage.n)}
              >
                <span className="chip" aria-hidden>
                  {passage.n}
                </span>
                <span className="source-title truncate">{titleOf(passage)}</span>
                <span className="source-more truncate">
                  {passage.cited ? passage.contributor : `${passage.contributor}, not cited`}
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {!going && (
        <footer className="answer-foot">
          <span className="quiet small numbers">{facts(answer)}</span>
          <span className="answer-actions">
            <CopyButton text={answer.text} label="Copy the answer" />
            <IconButton
              small
              label={
                named ? `Answer again with ${answer.choice.adapter ?? answer.choice.model}` : "Answer again"
              }
              onClick={onAgain}
            >
              <RotateCcw size={15} />
            </IconButton>
          </span>
        </footer>
      )}
      {state === "done" && <Legend answer={answer} />}
    </div>
  );
}

function facts(answer: Answer): string {
  const { usage, firstAt, endedAt, startedAt, attribution, finish } = answer;
  const said: string[] = [];
  if (usage) said.push(plural(usage.completion_tokens, "token"));
  if (endedAt) said.push(`${((endedAt - startedAt) / 1000).toFixed(1)} s`);
  if (usage && firstAt && endedAt && endedAt > firstAt) {
    said.push(`${(usage.completion_tokens / ((endedAt - firstAt) / 1000)).toFixed(1)} tokens/s`);
  }
  if (finish === "length") said.push("cut at the token limit");
  if (attribution) said.push(`record ${attribution.receipt.index}`);
  return said.join(" · ");
}

/** Says what the marks mean, only where there are any. */
function Legend({ answer }: { answer: Answer }) {
  if (!answer.attribution) return null;
  if (answer.attribution.datapoints.length === 0) {
    return <p className="quiet small">No datanet was searched, so nothing is cited.</p>;
  }
  return (
    <p className="legend quiet small">
      <span className="unsupported">Dotted</span> sentences rest on no passage: check them yourself.
    </p>
  );
}

/** A model on a CPU reads for a while before its first word: the seconds show that it is at work. */
function Thinking({ since }: { since: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  return (
    <p className="thinking quiet" role="status">
      <Spinner />
      <span>Reading</span>
      {seconds > 1 && (
        <span className="numbers" aria-hidden>
          {seconds} s
        </span>
      )}
    </p>
  );
}
