// Conversations in localStorage, each account's under a name of its own. Several tabs write them: what one has changed is
// laid over what is stored, so that none overwrites another's.
import type { Answer, Thread, Turn } from "./store";

/** Older conversations make room: localStorage holds a few MiB. */
export const KEPT = 40;

/** Where all accounts' conversations were together once. */
const SHARED = "cairn.threads";
const nameFor = (owner: string) => `${SHARED}:${owner}`;

/** What a tab has changed since it last wrote. */
export interface Changes {
  /** Threads that are other than stored. */
  threads: ReadonlySet<string>;
  /** Turns that were dropped here. */
  turns: ReadonlySet<string>;
}

/**
 * What is stored once the changes of this tab are laid over what another may have stored meanwhile. A thread that is
 * not stored any more was removed elsewhere, unless it was changed here.
 */
export function merged(stored: readonly Thread[], own: readonly Thread[], changes: Changes): Thread[] {
  const mine = new Map(own.map((thread) => [thread.id, thread]));
  const all = stored.flatMap((theirs) => {
    const ours = mine.get(theirs.id);
    if (!changes.threads.has(theirs.id)) return [theirs];
    // Changed here and not there any more: it was removed here.
    return ours ? [together(theirs, ours, changes.turns)] : [];
  });
  const known = new Set(stored.map(({ id }) => id));
  const added = own.filter(({ id }) => changes.threads.has(id) && !known.has(id));
  return [...added, ...all].sort((one, other) => other.updatedAt - one.updatedAt).slice(0, KEPT);
}

/** One thread as two tabs have it: the turns of both, in the order in which they were asked. */
function together(theirs: Thread, ours: Thread, dropped: ReadonlySet<string>): Thread {
  const known = new Set(ours.turns.map(({ id }) => id));
  const more = theirs.turns.filter(({ id }) => !known.has(id) && !dropped.has(id));
  const turns = [...ours.turns, ...more].sort((one, other) => asked(one) - asked(other));
  return { ...ours, turns, updatedAt: Math.max(theirs.updatedAt, ours.updatedAt) };
}

function asked(turn: Turn): number {
  return turn.askedAt ?? turn.answers[0]?.startedAt ?? 0;
}

/** The conversations of an account, as they are stored now. */
export function load(owner: string): Thread[] {
  return [...parsed(localStorage.getItem(nameFor(owner))), ...claimed(owner)];
}

/** Stores them; where the browser's room is used up, the oldest leave first. */
export function store(owner: string, threads: readonly Thread[]): void {
  const name = nameFor(owner);
  for (let count = threads.length; count > 0; count = Math.floor(count / 2)) {
    try {
      localStorage.setItem(name, JSON.stringify(threads.slice(0, count)));
      return;
    } catch {}
  }
  localStorage.removeItem(name);
}

/** Whether a change of this name in localStorage is one of the account's conversations. */
export function concerns(name: string | null, owner: string): boolean {
  return name === null || name === nameFor(owner);
}

/** Takes an account's conversations out of where all were together. */
function claimed(owner: string): Thread[] {
  const shared = parsed(localStorage.getItem(SHARED));
  if (shared.length === 0) return [];
  const own = shared.filter((thread) => thread.owner === owner);
  if (own.length === 0) return [];
  const rest = shared.filter((thread) => thread.owner !== owner);
  if (rest.length === 0) localStorage.removeItem(SHARED);
  else localStorage.setItem(SHARED, JSON.stringify(rest));
  store(owner, [...parsed(localStorage.getItem(nameFor(owner))), ...own]);
  return own;
}

function parsed(text: string | null): Thread[] {
  try {
    const stored = JSON.parse(text ?? "[]") as Thread[];
    return stored.map((thread) => ({
      ...thread,
      turns: thread.turns.map((turn) => ({ ...turn, answers: turn.answers.map(ended) })),
    }));
  } catch {
    return [];
  }
}

/** A page that was closed cannot go on with a stream. */
function ended(answer: Answer): Answer {
  const going = answer.state === "waiting" || answer.state === "streaming";
  return going ? { ...answer, state: "stopped" } : answer;
}
