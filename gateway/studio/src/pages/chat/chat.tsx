// Chat: a conversation with one model or two, and the trail of whichever citation is chosen.
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { History, SquarePen, Trash2 } from "lucide-react";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { datanets, models } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button, IconButton } from "../../ui/button";
import { Confirm, Sheet } from "../../ui/dialog";
import { Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { useTitle } from "../../ui/page";
import { plural } from "../../ui/text";
import { useWide } from "../../ui/wide";
import { Composer } from "./composer";
import {
  after,
  again,
  ask,
  askInstead,
  currentSettings,
  keepSettings,
  markVerified,
  removeAll,
  removeThread,
  type Settings,
  stop,
  useThreads,
} from "./store";
import { TurnView } from "./turn";
import "../../trail/trail.css";
import "./chat.css";

// The trail brings the verifier along; it is fetched with the first citation that is opened.
const Trail = lazy(() => import("../../trail/trail").then(({ Trail }) => ({ default: Trail })));

/** Which citation is open. */
export interface Opened {
  turn: string;
  answer: number;
  n: number;
}

export function Chat() {
  useTitle("Chat");
  const caller = useCaller();
  const known = useQuery(models);
  const nets = useQuery(datanets);
  const error = known.error ?? nets.error;
  if (error) {
    return (
      <div className="page">
        <ErrorNote error={error} />
      </div>
    );
  }
  if (!caller || !known.data || !nets.data) {
    return (
      <div className="page">
        <Waiting lines={5} />
      </div>
    );
  }
  const start = currentSettings(known.data, nets.data);
  return <Conversation start={start} ready={start.choices.length > 0} subject={caller.subject} />;
}

function Conversation({ start, ready, subject }: { start: Settings; ready: boolean; subject: string }) {
  const navigate = useNavigate({ from: "/chat" });
  const search = useSearch({ from: "/chat" });
  const threads = useThreads();
  const thread = threads.find((one) => one.id === search.thread);
  const [how, setHow] = useState<Settings>(() => {
    const datanet = search.datanet ? { datanets: [search.datanet] } : {};
    const [base, adapter] = search.model?.split(":") ?? [];
    return {
      ...start,
      ...datanet,
      ...(base ? { choices: [{ model: base, adapter: adapter ?? null }] } : {}),
    };
  });
  const [opened, setOpened] = useState<Opened | null>(null);
  const [history, setHistory] = useState(false);
  const [forgetting, setForgetting] = useState(false);
  // What would drop later questions waits here until the reader has agreed.
  const [pending, setPending] = useState<{ later: number; go: () => void } | null>(null);
  const wide = useWide(1180);
  const change = (next: Settings) => {
    setHow(next);
    keepSettings(next);
  };
  const send = (question: string) => {
    const id = ask(thread?.id, question, how);
    if (id !== search.thread) navigate({ search: { thread: id }, replace: true });
  };
  // A question that came with the address is asked once, and leaves the address.
  const asked = useRef(false);
  useEffect(() => {
    if (!search.ask || asked.current || how.choices.length === 0) return;
    asked.current = true;
    const id = ask(undefined, search.ask, how);
    navigate({ search: { thread: id }, replace: true });
  }, [search.ask, how, navigate]);

  const turns = thread?.turns ?? [];
  const busy = turns.some((turn) =>
    turn.answers.some(({ state }) => state === "waiting" || state === "streaming"),
  );
  const end = useFollow(turns);
  const show = (next: string | undefined) => {
    setOpened(null);
    setHistory(false);
    navigate({ search: next ? { thread: next } : {} });
  };
  const instead = (turn: string, go: () => void) => {
    const later = thread ? after(thread.id, turn) : 0;
    const act = () => {
      if (opened?.turn === turn) setOpened(null);
      go();
    };
    if (later === 0) act();
    else setPending({ later, go: act });
  };
  const openedAnswer = turns.find((turn) => turn.id === opened?.turn)?.answers[opened?.answer ?? 0];
  const trail = opened && thread && openedAnswer?.attribution && (
    <Suspense fallback={<TrailWaiting />}>
      <Trail
        attribution={openedAnswer.attribution}
        answer={openedAnswer.text}
        n={opened.n}
        onSelect={(n) => setOpened({ ...opened, n })}
        onClose={() => setOpened(null)}
        onVerified={() => markVerified(thread.id, opened.turn, opened.answer)}
      />
    </Suspense>
  );
  return (
    <div className="chat" data-trail={(wide && trail) || undefined}>
      <div className="chat-main">
        <header className="chat-head">
          <h1 className="chat-title truncate">{thread?.title ?? "New conversation"}</h1>
          <Button small look="quiet" onClick={() => setHistory(true)}>
            <History size={15} aria-hidden />
            History
          </Button>
          <Button small look="quiet" onClick={() => show(undefined)} disabled={!thread}>
            <SquarePen size={15} aria-hidden />
            New
          </Button>
        </header>
        <div className="turns" data-compare={how.choices.length > 1 || undefined}>
          {turns.length === 0 &&
            (ready ? (
              <Welcome datanets={how.datanets.length} onAsk={send} />
            ) : (
              <Empty title="There is no chat model yet">
                Fetch one on the gateway’s machine with “cairn pull”; it appears here at once.
              </Empty>
            ))}
          {turns.map((turn) => (
            <TurnView
              key={turn.id}
              turn={turn}
              opened={opened?.turn === turn.id ? opened : null}
              onOpen={(answer, n) => setOpened({ turn: turn.id, answer, n })}
              onEdit={(question) =>
                thread && instead(turn.id, () => askInstead(thread.id, turn.id, how, question))
              }
              onAgain={(index) => thread && instead(turn.id, () => again(thread.id, turn.id, index, how))}
            />
          ))}
          <div ref={end} />
        </div>
        <Composer
          how={how}
          onChange={change}
          onSend={send}
          busy={busy}
          onStop={() => turns.forEach(stop)}
          disabled={!ready}
        />
      </div>
      {wide && trail && <aside className="chat-trail">{trail}</aside>}
      {!wide && (
        <Sheet open={Boolean(trail)} onClose={() => setOpened(null)} title="Where this comes from">
          {trail}
        </Sheet>
      )}
      <Sheet open={history} onClose={() => setHistory(false)} title="Conversations">
        <div className="history">
          <h2>Conversations</h2>
          <p className="quiet small">
            Kept in this browser only, for {subject}; they stay when you sign out, until you delete them.
          </p>
          {threads.length === 0 && <Empty title="None yet">What you ask appears here.</Empty>}
          <ul>
            {threads.map((one) => (
              <li key={one.id} className="history-line" data-current={one.id === thread?.id || undefined}>
                <button type="button" className="history-open truncate" onClick={() => show(one.id)}>
                  {one.title}
                </button>
                <IconButton
                  small
                  label={`Delete “${one.title}”`}
                  onClick={() => {
                    removeThread(one.id);
                    if (one.id === thread?.id) show(undefined);
                  }}
                >
                  <Trash2 size={15} />
                </IconButton>
              </li>
            ))}
          </ul>
          {threads.length > 0 && (
            <Button small look="danger" onClick={() => setForgetting(true)}>
              Delete all
            </Button>
          )}
        </div>
      </Sheet>
      <Confirm
        open={forgetting}
        onClose={() => setForgetting(false)}
        title="Delete all conversations?"
        action="Delete all"
        onConfirm={async () => {
          removeAll();
          show(undefined);
        }}
      >
        They are gone from this browser. The records of their answers stay in the log.
      </Confirm>
      <Confirm
        open={pending !== null}
        onClose={() => setPending(null)}
        title="Answer this again?"
        action="Answer again"
        onConfirm={async () => pending?.go()}
      >
        {pending &&
          `What was asked after it builds on its answer: ${plural(pending.later, "later question")} and their answers leave this conversation. Their records stay in the log.`}
      </Confirm>
    </div>
  );
}

const EXAMPLES = ["What is a hash table?", "What is a B-tree?", "What is garbage collection?"];

function Welcome({ datanets: chosen, onAsk }: { datanets: number; onAsk: (question: string) => void }) {
  return (
    <div className="welcome">
      <h2>Ask, and follow every answer to its source</h2>
      <p className="quiet">
        {chosen > 0
          ? "Numbers in an answer are citations: choose one to see the datapoint, who contributed it, and the proof."
          : "No datanet is chosen, so answers cite nothing. Choose one below to see sources."}
      </p>
      <ul className="examples">
        {EXAMPLES.map((example) => (
          <li key={example}>
            <button type="button" className="example" onClick={() => onAsk(example)}>
              {example}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function TrailWaiting() {
  return (
    <div className="card-pad">
      <Waiting lines={8} />
    </div>
  );
}

/** Keeps the end of the conversation in view while it grows, unless the reader has scrolled up. */
function useFollow(turns: unknown) {
  const end = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: every change of the turns may move the end
  useEffect(() => {
    const box = end.current?.parentElement;
    if (box && box.scrollHeight - box.scrollTop - box.clientHeight < 240) box.scrollTop = box.scrollHeight;
  }, [turns]);
  return end;
}
