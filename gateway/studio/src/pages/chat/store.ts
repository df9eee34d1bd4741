// Conversations: kept in this browser's localStorage, and nowhere else. Answers go on streaming while the reader is on
// another page, because the store, not a component, holds them.
import { useQuery } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { ApiError, request, type Schemas } from "../../api/client";
import { me, queryClient } from "../../api/queries";
import { events } from "../../api/sse";
import { concerns, KEPT, load, merged, store } from "./history";

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
  /** Answers may be given anew; the turn keeps its place. */
  askedAt?: number;
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

const SETTINGS = "cairn.chat-settings";

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

/** What is known of one account's conversations in this tab. */
interface Held {
  threads: Thread[];
  /** Threads that were changed here since they were last stored. */
  changed: Set<string>;
  /** Turns that were dropped here since then. */
  dropped: Set<string>;
}

const accounts = new Map<string, Held>();
const listeners = new Set<() => void>();
const controllers = new Map<string, AbortController>();

function held(owner: string): Held {
  let known = accounts.get(owner);
  if (!known) {
    known = { threads: load(owner), changed: new Set(), dropped: new Set() };
    accounts.set(owner, known);
  }
  return known;
}

/** The conversations of whoever is signed in. */
export function useThreads(): Thread[] {
  const { data } = useQuery(me);
  const owner = data?.subject;
  return useSyncExternalStore(subscribe, () => (owner === undefined ? NONE : held(owner).threads));
}

const NONE: Thread[] = [];

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) window.addEventListener("storage", stored);
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) window.removeEventListener("storage", stored);
  };
}

/** Another tab has stored something. */
function stored({ key }: StorageEvent): void {
  for (const [owner, { threads, changed, dropped }] of accounts) {
    if (!concerns(key, owner)) continue;
    change(owner, merged(load(owner), threads, { threads: changed, turns: dropped }));
  }
}

const settingsName = () => `${SETTINGS}:${signedIn()}`;

export function settings(): Settings | null {
  try {
    const stored = JSON.parse(localStorage.getItem(settingsName()) ?? "null") as Partial<Settings> | null;
    // It was a switch once.
    const rerank = typeof stored?.rerank === "string" ? stored.rerank : DEFAULTS.rerank;
    return stored && { ...DEFAULTS, ...stored, rerank };
  } catch {
    return null;
  }
}

/** What a newcomer starts with: the first chat model, and every datanet that has something to cite. */
function firstSettings(models: Schemas["Model"][], datanets: Schemas["Datanet"][]): Settings {
  const chat = models.filter((model) => model.kind === "chat");
  const first = chat.find((model) => model.status === "loaded") ?? chat[0];
  return {
    ...DEFAULTS,
    choices: first ? [{ model: first.id, adapter: null }] : [],
    datanets: datanets.filter((datanet) => datanet.snapshot.size > 0).map((datanet) => datanet.name),
  };
}

/** What the next question is asked with: as chosen last, without what is gone since. */
export function currentSettings(models: Schemas["Model"][], datanets: Schemas["Datanet"][]): Settings {
  const kept = settings();
  const choices = kept?.choices.filter((choice) => models.some((model) => model.id === choice.model)) ?? [];
  if (!kept || choices.length === 0) return firstSettings(models, datanets);
  const readable = kept.datanets.filter((name) => datanets.some((datanet) => datanet.name === name));
  return { ...kept, choices, datanets: readable };
}

export function keepSettings(next: Settings): void {
  localStorage.setItem(settingsName(), JSON.stringify(next));
}

export function removeThread(id: string): void {
  const owner = signedIn();
  const { threads, changed } = held(owner);
  for (const turn of threads.find((thread) => thread.id === id)?.turns ?? []) stop(turn);
  changed.add(id);
  change(
    owner,
    threads.filter((thread) => thread.id !== id),
  );
  keep(owner);
}

/** Removes every conversation of whoever is signed in from this browser. */
export function removeAll(): void {
  for (const { id } of held(signedIn()).threads) removeThread(id);
}

/** Asks, in a thread or in a new one; gives the thread's id. */
export function ask(threadId: string | undefined, question: string, how: Settings): string {
  const owner = signedIn();
  const { threads } = held(owner);
  const turn = asked(question, how);
  const known = threads.find((thread) => thread.id === threadId);
  const thread: Thread = known
    ? { ...known, updatedAt: Date.now(), turns: [...known.turns, turn] }
    : {
        id: crypto.randomUUID(),
        owner,
        title: question.slice(0, 80),
        updatedAt: Date.now(),
        turns: [turn],
      };
  touch(owner, thread.id);
  change(owner, [thread, ...threads.filter((other) => other.id !== thread.id)].slice(0, KEPT));
  for (const index of turn.answers.keys()) void run({ owner, thread: thread.id, turn: turn.id, index }, how);
  return thread.id;
}

/** How many turns come after one: they build on its answers, and go with them. */
export function after(threadId: string, turnId: string): number {
  const turns = held(signedIn()).threads.find((thread) => thread.id === threadId)?.turns ?? [];
  const at = turns.findIndex((turn) => turn.id === turnId);
  return at < 0 ? 0 : turns.length - at - 1;
}

/** Asks something else in a turn's place; what followed it is dropped, because it answered something else. */
export function askInstead(threadId: string, turnId: string, how: Settings, question: string): void {
  const owner = signedIn();
  const turn = asked(question, how);
  const replaced = replace(owner, threadId, turnId, (old) => ({
    ...turn,
    ...(old.askedAt === undefined ? {} : { askedAt: old.askedAt }),
  }));
  if (!replaced) return;
  for (const index of turn.answers.keys()) void run({ owner, thread: threadId, turn: turn.id, index }, how);
}

/** Has one answer of a turn given anew, by who gave it; the answer beside it stays. What followed is dropped. */
export function again(threadId: string, turnId: string, index: number, how: Settings): void {
  const owner = signedIn();
  let choices: Choice[] = [];
  const replaced = replace(owner, threadId, turnId, (old) => {
    choices = old.answers.map(({ choice }) => choice);
    const answers = old.answers.map((answer, place) => (place === index ? waiting(answer.choice) : answer));
    return { ...old, answers };
  });
  if (replaced) void run({ owner, thread: threadId, turn: turnId, index }, { ...how, choices });
}

/** Puts a turn in another's place and drops those after it; says whether there was one. */
function replace(owner: string, threadId: string, turnId: string, next: (old: Turn) => Turn): boolean {
  const { threads, dropped } = held(owner);
  const thread = threads.find((one) => one.id === threadId);
  const at = thread?.turns.findIndex((turn) => turn.id === turnId) ?? -1;
  const old = thread?.turns[at];
  if (!thread || !old) return false;
  const turn = next(old);
  // The same turn with one answer anew: the other one may still be on its way.
  for (const gone of thread.turns.slice(turn.id === old.id ? at + 1 : at)) {
    stop(gone);
    dropped.add(gone.id);
  }
  const title = at === 0 ? turn.question.slice(0, 80) : thread.title;
  const changed = { ...thread, title, updatedAt: Date.now(), turns: [...thread.turns.slice(0, at), turn] };
  touch(owner, threadId);
  change(
    owner,
    threads.map((one) => (one.id === threadId ? changed : one)),
  );
  return true;
}

export function stop(turn: Turn): void {
  for (const index of turn.answers.keys()) controllers.get(`${turn.id}/${index}`)?.abort();
}

export function markVerified(threadId: string, turnId: string, index: number): void {
  const owner = signedIn();
  update({ owner, thread: threadId, turn: turnId, index }, { verified: true });
  keep(owner);
}

const signedIn = () => queryClient.getQueryData(me.queryKey)?.subject ?? "";

const waiting = (choice: Choice): Answer => ({ choice, state: "waiting", text: "", startedAt: Date.now() });

const asked = (question: string, how: Settings): Turn => ({
  id: crypto.randomUUID(),
  askedAt: Date.now(),
  question,
  answers: how.choices.map(waiting),
});

/** Where an answer stands. */
interface Place {
  owner: string;
  thread: string;
  turn: string;
  index: number;
}

/** Streams one answer into its place. */
async function run(place: Place, how: Settings): Promise<void> {
  const name = `${place.turn}/${place.index}`;
  controllers.get(name)?.abort();
  const controller = new AbortController();
  controllers.set(name, controller);
  // An answer that was begun anew meanwhile is another's to write.
  const set = (part: Partial<Answer>) => controllers.get(name) === controller && update(place, part);
  try {
    const response = await request("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(asRequest(place, how)),
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
        if (!find(place)?.firstAt) part.firstAt = Date.now();
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
    if (controllers.get(name) === controller) {
      controllers.delete(name);
      keep(place.owner);
    }
  }
}

function asRequest({ owner, thread, turn, index }: Place, how: Settings): Schemas["ChatRequest"] {
  const turns = held(owner).threads.find((one) => one.id === thread)?.turns ?? [];
  const at = turns.findIndex((one) => one.id === turn);
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

function find({ owner, thread, turn, index }: Place): Answer | undefined {
  const turns = held(owner).threads.find((one) => one.id === thread)?.turns;
  return turns?.find((one) => one.id === turn)?.answers[index];
}

function update({ owner, thread: threadId, turn: turnId, index }: Place, part: Partial<Answer>): void {
  const answers = (turn: Turn) =>
    turn.answers.map((answer, place) => (place === index ? { ...answer, ...part } : answer));
  const turns = (thread: Thread) =>
    thread.turns.map((turn) => (turn.id === turnId ? { ...turn, answers: answers(turn) } : turn));
  touch(owner, threadId);
  change(
    owner,
    held(owner).threads.map((thread) =>
      thread.id === threadId ? { ...thread, turns: turns(thread) } : thread,
    ),
  );
}

function touch(owner: string, threadId: string): void {
  held(owner).changed.add(threadId);
}

function change(owner: string, next: Thread[]): void {
  held(owner).threads = next;
  for (const listener of listeners) listener();
}

/** Stores what was changed here, over what other tabs have stored. Threads under way are changed until they end. */
function keep(owner: string): void {
  const { threads, changed, dropped } = held(owner);
  const all = merged(load(owner), threads, { threads: changed, turns: dropped });
  store(owner, all);
  const going = all.filter(({ turns }) => turns.some(({ answers }) => answers.some(isGoing)));
  changed.clear();
  for (const { id } of going) changed.add(id);
  if (going.length === 0) dropped.clear();
  change(owner, all);
}

function isGoing({ state }: Answer): boolean {
  return state === "waiting" || state === "streaming";
}
