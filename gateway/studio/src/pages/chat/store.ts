// Conversations: kept in this browser's localStorage, and nowhere else. Answers go on streaming while the reader is on
// another page, because the store, not a component, holds them.
import { useQuery } from "@tanstack/react-query";
import { useMemo, useSyncExternalStore } from "react";
import { ApiError, request, type Schemas } from "../../api/client";
import { me, queryClient } from "../../api/queries";
import { events } from "../../api/sse";

/** The attribution of an answer, without its candidates: those are long, and the gateway keeps them with the record. */
export type Attribution = Omit<Schemas["Attribution"], "candidates">;

export interface Choice {
  model: string;
  adapter: string | null;
}

export interface Settings {
  /** One, or two to compare. */
  choices: Choice[];
  datanets: string[];
  system: string;
  temperature: number;
  topP: number;
  maxTokens: number;
  seed: number | null;
  passages: number;
  mode: Schemas["RetrievalMode"];
  rerank: Schemas["Rerank"];
}

export interface Answer {
  choice: Choice;
  state: "waiting" | "streaming" | "done" | "stopped" | "failed";
  text: string;
  startedAt: number;
  firstAt?: number;
  endedAt?: number;
  error?: string;
  finish?: string;
  usage?: Schemas["Usage"];
  attribution?: Attribution;
  verified?: boolean;
}

export interface Turn {
  id: string;
  question: string;
  answers: Answer[];
}

export interface Thread {
  id: string;
  /** Whose it is: several people may sign in from one browser. */
  owner: string;
  title: string;
  updatedAt: number;
  turns: Turn[];
}

const THREADS = "cairn.threads";
const SETTINGS = "cairn.chat-settings";
/** Older conversations make room: localStorage holds a few MiB. */
const KEPT = 40;

const DEFAULTS: Settings = {
  choices: [],
  datanets: [],
  system: "",
  temperature: 0,
  topP: 1,
  maxTokens: 256,
  seed: null,
  passages: 4,
  mode: "hybrid",
  rerank: "none",
};

let threads: Thread[] = read();
const listeners = new Set<() => void>();
const controllers = new Map<string, AbortController>();

/** The conversations of whoever is signed in. */
export function useThreads(): Thread[] {
  const all = useSyncExternalStore(subscribe, () => threads);
  const { data } = useQuery(me);
  return useMemo(() => all.filter((thread) => thread.owner === data?.subject), [all, data?.subject]);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function settings(): Settings | null {
  try {
    const stored = JSON.parse(localStorage.getItem(SETTINGS) ?? "null") as Partial<Settings> | null;
    // It was a switch once.
    const rerank = typeof stored?.rerank === "string" ? stored.rerank : DEFAULTS.rerank;
    return stored && { ...DEFAULTS, ...stored, rerank };
  } catch {
    return null;
  }
}

/** What a newcomer starts with: the first chat model, and every datanet that has something to cite. */
export function firstSettings(models: Schemas["Model"][], datanets: Schemas["Datanet"][]): Settings {
  const chat = models.filter((model) => model.kind === "chat");
  const first = chat.find((model) => model.status === "loaded") ?? chat[0];
  return {
    ...DEFAULTS,
    choices: first ? [{ model: first.id, adapter: null }] : [],
    datanets: datanets.filter((datanet) => datanet.snapshot.size > 0).map((datanet) => datanet.name),
  };
}

export function keepSettings(next: Settings): void {
  localStorage.setItem(SETTINGS, JSON.stringify(next));
}

export function removeThread(id: string): void {
  for (const turn of threads.find((thread) => thread.id === id)?.turns ?? []) stop(turn);
  change(threads.filter((thread) => thread.id !== id));
  keep();
}

/** Asks, in a thread or in a new one; gives the thread's id. */
export function ask(threadId: string | undefined, question: string, how: Settings): string {
  const turn: Turn = { id: crypto.randomUUID(), question, answers: how.choices.map(waiting) };
  const known = threads.find((thread) => thread.id === threadId);
  const thread: Thread = known
    ? { ...known, updatedAt: Date.now(), turns: [...known.turns, turn] }
    : {
        id: crypto.randomUUID(),
        owner: signedIn(),
        title: question.slice(0, 80),
        updatedAt: Date.now(),
        turns: [turn],
      };
  change([thread, ...threads.filter((other) => other.id !== thread.id)].slice(0, KEPT));
  for (const index of turn.answers.keys()) void run(thread.id, turn.id, index, how);
  return thread.id;
}

/** Answers a turn again; what followed it is dropped, because it answered something else. */
export function retry(threadId: string, turnId: string, how: Settings, question?: string): void {
  const thread = threads.find((one) => one.id === threadId);
  const at = thread?.turns.findIndex((turn) => turn.id === turnId) ?? -1;
  const old = thread?.turns[at];
  if (!thread || !old) return;
  for (const turn of thread.turns.slice(at)) stop(turn);
  const turn: Turn = {
    id: crypto.randomUUID(),
    question: question ?? old.question,
    answers: how.choices.map(waiting),
  };
  const title = at === 0 ? turn.question.slice(0, 80) : thread.title;
  const next = { ...thread, title, updatedAt: Date.now(), turns: [...thread.turns.slice(0, at), turn] };
  change(threads.map((one) => (one.id === threadId ? next : one)));
  for (const index of turn.answers.keys()) void run(threadId, turn.id, index, how);
}

export function stop(turn: Turn): void {
  for (const index of turn.answers.keys()) controllers.get(`${turn.id}/${index}`)?.abort();
}

export function markVerified(threadId: string, turnId: string, index: number): void {
  update(threadId, turnId, index, { verified: true });
  keep();
}

const signedIn = () => queryClient.getQueryData(me.queryKey)?.subject ?? "";

const waiting = (choice: Choice): Answer => ({ choice, state: "waiting", text: "", startedAt: Date.now() });

/** Streams one answer into its place. */
async function run(threadId: string, turnId: string, index: number, how: Settings): Promise<void> {
  const name = `${turnId}/${index}`;
  const controller = new AbortController();
  controllers.set(name, controller);
  const set = (part: Partial<Answer>) => update(threadId, turnId, index, part);
  try {
    const response = await request("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(asRequest(threadId, turnId, index, how)),
      signal: controller.signal,
    });
    let text = "";
    let ended = false;
    for await (const data of events(response)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const chunk = JSON.parse(data) as Schemas["ChatChunk"] & Partial<Schemas["ErrorEnvelope"]>;
      if (chunk.error) throw new ApiError(0, chunk.error.message, chunk.error.code ?? null);
      const choice = chunk.choices[0];
      const part: Partial<Answer> = {};
      if (choice?.delta.content) {
        text += choice.delta.content;
        Object.assign(part, { text, state: "streaming" });
        if (!find(threadId, turnId, index)?.firstAt) part.firstAt = Date.now();
      }
      if (choice?.finish_reason) part.finish = choice.finish_reason;
      if (chunk.usage) part.usage = chunk.usage;
      if (chunk.attribution) {
        const { candidates: _, ...attribution } = chunk.attribution;
        part.attribution = attribution;
      }
      set(part);
    }
    if (!ended) throw new ApiError(0, "The connection ended before the answer did. Try again.", null);
    set({ state: "done", endedAt: Date.now() });
  } catch (error) {
    if (controller.signal.aborted) set({ state: "stopped", endedAt: Date.now() });
    else
      set({
        state: "failed",
        endedAt: Date.now(),
        error: error instanceof Error ? error.message : String(error),
      });
  } finally {
    controllers.delete(name);
    keep();
  }
}

function asRequest(threadId: string, turnId: string, index: number, how: Settings): Schemas["ChatRequest"] {
  const thread = threads.find((one) => one.id === threadId);
  const turns = thread?.turns ?? [];
  const at = turns.findIndex((turn) => turn.id === turnId);
  const messages: Schemas["Message"][] = how.system.trim()
    ? [{ role: "system", content: how.system.trim() }]
    : [];
  for (const turn of turns.slice(0, at)) {
    const answer = turn.answers[index] ?? turn.answers[0];
    if (!answer?.text) continue;
    messages.push({ role: "user", content: turn.question }, { role: "assistant", content: answer.text });
  }
  messages.push({ role: "user", content: turns[at]?.question ?? "" });
  const choice = how.choices[index];
  return {
    model: choice?.model ?? "",
    ...(choice?.adapter ? { adapter: choice.adapter } : {}),
    messages,
    datanets: how.datanets,
    ...(how.datanets.length > 0
      ? {
          retrieval: {
            top_k: how.passages,
            mode: how.mode,
            rerank: how.rerank,
          },
        }
      : {}),
    temperature: how.temperature,
    top_p: how.topP,
    max_tokens: how.maxTokens,
    ...(how.seed === null ? {} : { seed: how.seed }),
    stream: true,
    stream_options: { include_usage: true },
  };
}

function find(threadId: string, turnId: string, index: number): Answer | undefined {
  const thread = threads.find((one) => one.id === threadId);
  return thread?.turns.find((turn) => turn.id === turnId)?.answers[index];
}

function update(threadId: string, turnId: string, index: number, part: Partial<Answer>): void {
  const answers = (turn: Turn) =>
    turn.answers.map((answer, place) => (place === index ? { ...answer, ...part } : answer));
  const turns = (thread: Thread) =>
    thread.turns.map((turn) => (turn.id === turnId ? { ...turn, answers: answers(turn) } : turn));
  change(threads.map((thread) => (thread.id === threadId ? { ...thread, turns: turns(thread) } : thread)));
}

function change(next: Thread[]): void {
  threads = next;
  for (const listener of listeners) listener();
}

function keep(): void {
  // When the browser's room is used up, the oldest conversations leave first.
  for (let count = threads.length; count > 0; count = Math.floor(count / 2)) {
    try {
      localStorage.setItem(THREADS, JSON.stringify(threads.slice(0, count)));
      return;
    } catch {}
  }
  localStorage.removeItem(THREADS);
}

function read(): Thread[] {
  try {
    const stored = JSON.parse(localStorage.getItem(THREADS) ?? "[]") as Thread[];
    // A page that was closed cannot go on with a stream.
    const ended = (answer: Answer): Answer =>
      answer.state === "waiting" || answer.state === "streaming" ? { ...answer, state: "stopped" } : answer;
    return stored.map((thread) => ({
      ...thread,
      turns: thread.turns.map((turn) => ({ ...turn, answers: turn.answers.map(ended) })),
    }));
  } catch {
    return [];
  }
}
