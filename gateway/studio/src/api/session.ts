// Who this tab is to the gateway: the holder of a key, which is kept for this tab, or on this device where the reader asked for
// it, and leaves the browser only in the Authorization header of requests to the gateway that served this page; or somebody
// who signed in with the organisation's provider, by a cookie that no script can read; or nobody.
import { useSyncExternalStore } from "react";

export type Session = "key" | "cookie" | "none" | "unknown";

/** What the gateway has said of this browser, and how one may sign in. */
interface Ways {
  cookie: "cookie" | "none" | "unknown";
  /** What the sign-in provider is called, where there is one. */
  provider: string | null;
  /** Why the gateway could not be asked. */
  trouble?: unknown;
  /** A session has ended without the reader's doing. */
  ended?: boolean;
}

const KEY = "cairn.credential";
const listeners = new Set<() => void>();
let ways: Ways = { cookie: "unknown", provider: null };

export function credential(): string | null {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
}

export function session(): Session {
  return credential() ? "key" : ways.cookie;
}

/** Goes on with a key. */
export function signIn(secret: string, remember: boolean): void {
  sessionStorage.setItem(KEY, secret);
  if (remember) localStorage.setItem(KEY, secret);
  else localStorage.removeItem(KEY);
  change({ ended: false });
}

/** What the gateway says of this browser. */
export function learn(known: Omit<Ways, "ended">): void {
  change({ trouble: undefined, ...known });
}

/** The key is forgotten. */
export function dropKey(): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  change({});
}

/** The browser's session is over; other tabs had the same. */
export function dropCookie(): void {
  if (ways.cookie === "cookie") change({ cookie: "none" });
  others.postMessage(OVER);
}

/** The gateway no longer takes what this tab has. */
export function refused(): void {
  if (session() === "key") dropKey();
  else dropCookie();
  change({ ended: true });
}

export function useSession(): Session {
  return useSyncExternalStore(subscribe, session);
}

export function useWays(): Ways {
  return useSyncExternalStore(subscribe, () => ways);
}

const OVER = "over";
const others = new BroadcastChannel("cairn.session");
others.onmessage = ({ data }) => {
  if (data === OVER && ways.cookie === "cookie") change({ cookie: "none" });
};

// Another tab has forgotten a key that was kept on this device.
window.addEventListener("storage", ({ key, oldValue, newValue }) => {
  if (key !== KEY || oldValue === null || newValue !== null) return;
  if (sessionStorage.getItem(KEY) === oldValue) sessionStorage.removeItem(KEY);
  change({});
});

function change(changes: Partial<Ways>): void {
  ways = { ...ways, ...changes };
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
