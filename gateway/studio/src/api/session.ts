// The credential: for this tab, or on this device where the reader asked for it. It leaves the browser only in the
// Authorization header of requests to the gateway that served this page.
import { useSyncExternalStore } from "react";

const KEY = "cairn.credential";
const listeners = new Set<() => void>();

export function credential(): string | null {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
}

export function signIn(secret: string, remember: boolean): void {
  sessionStorage.setItem(KEY, secret);
  if (remember) localStorage.setItem(KEY, secret);
  else localStorage.removeItem(KEY);
  for (const listener of listeners) listener();
}

export function signOut(): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  for (const listener of listeners) listener();
}

export function useCredential(): string | null {
  return useSyncExternalStore(subscribe, credential);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
