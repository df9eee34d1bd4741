// Which key of the log this browser trusts: one that the reader took from elsewhere, or else the one that this gateway
// gave first, kept so that a key that changes is noticed. A change that the kept key itself signed proves itself; the
// reader is told, and may keep the new key from then on.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import type { Schemas } from "../api/client";
import { logKey } from "../api/queries";
import { date } from "../ui/text";
import { canonical, type Json } from "../verify/canonical";
import { trustOf } from "../verify/key-text";

const KEY = "cairn.log-key";

export interface TrustedKey {
  /** A key file's text: the key that is trusted and, where they hold, the changes of it. */
  key: string | null;
  /** The log shows another key, and nothing that the kept one signed leads there. */
  changed: boolean;
  /** The log has changed its key since this browser kept one, and the kept one signed that. */
  rotated: { size: number; time: string } | null;
  /** Keeps the key that the change leads to. */
  accept: () => void;
  error: unknown;
  /** The log's name. */
  origin: string | null;
  /** The reader took it from elsewhere than from this gateway. */
  pinned: boolean;
  /** Whose word stands behind it, as a part of a sentence. */
  from: string;
}

export function useTrustedKey(): TrustedKey {
  const { data, error } = useQuery(logKey);
  // Read anew whenever any part of the page keeps another one.
  useSyncExternalStore(subscribe, () => version);
  const origin = data?.origin ?? null;
  const kept = origin === null ? null : keptFor(origin);
  useEffect(() => {
    if (!data || keptFor(data.origin)) return;
    keep(data.origin, { key: data.key, since: new Date().toISOString(), pinned: false });
  }, [data]);
  const trusted = kept?.key ?? data?.key ?? "";
  const rotations = changesOf(data);
  const { data: leads } = useQuery({
    queryKey: ["log", "trust", trusted, data?.key, rotations.length],
    queryFn: () => follow(trusted, data?.key ?? "", rotations),
    enabled: data !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    // It is computed here, so it needs no network.
    networkMode: "always",
  });
  const accept = () => {
    if (!data || !leads?.current) return;
    keep(data.origin, { key: data.key, since: new Date().toISOString(), pinned: kept?.pinned ?? false });
  };
  const about = { origin, pinned: kept?.pinned ?? false, from: said(kept), accept };
  if (!data || !leads) return { key: null, changed: false, rotated: null, error, ...about };
  const other = firstLine(trusted) !== firstLine(data.key);
  return {
    key: leads.text,
    changed: other && !leads.current,
    rotated: other && leads.current ? (leads.last ?? null) : null,
    error: null,
    ...about,
  };
}

interface Kept {
  key: string;
  /** When it was kept; empty where an earlier version of this page did not note it. */
  since: string;
  pinned: boolean;
}

/** Trusts a key that the reader has from elsewhere. The caller has checked that it is one of this log. */
export function pin(origin: string, key: string): void {
  keep(origin, { key: firstLine(key), since: new Date().toISOString(), pinned: true });
}

/** From now on the gateway's key is trusted again, as on a first visit. */
export function unpin(origin: string): void {
  for (const name of names(origin)) localStorage.removeItem(name);
  changed();
}

function said(kept: Kept | null): string {
  const since = kept?.since ? ` on ${date(kept.since)}` : "";
  if (kept?.pinned) return `the key that you pinned${since}`;
  return `the key that this gateway gave this browser${since || " when it was here first"}`;
}

/** The changes of the log's key that the gateway tells of. */
function changesOf(data: Schemas["LogKey"] | undefined): Json[] {
  return ((data as { rotations?: Json[] } | undefined)?.rotations ?? []) as Json[];
}

/** Where a trusted key leads by the log's changes of key; by itself alone where they do not hold. */
async function follow(trusted: string, key: string, rotations: Json[]) {
  const text = [firstLine(trusted), ...rotations.map((rotation) => canonical(rotation)), ""].join("\n");
  try {
    const trust = await trustOf(text);
    const last = trust.rotations.at(-1);
    const current = last ? last.next === firstLine(key) : firstLine(trusted) === firstLine(key);
    return { text, current, ...(last ? { last: { size: last.size, time: last.time } } : {}) };
  } catch {
    return { text: `${firstLine(trusted)}\n`, current: firstLine(trusted) === firstLine(key) };
  }
}

const names = (origin: string) =>
  [`${KEY}:${origin}`, `${KEY}-since:${origin}`, `${KEY}-pinned:${origin}`] as const;

function keptFor(origin: string): Kept | null {
  const [key, since, pinned] = names(origin).map((name) => localStorage.getItem(name));
  return key ? { key, since: since ?? "", pinned: pinned === "yes" } : null;
}

function keep(origin: string, { key, since, pinned }: Kept): void {
  const [keyName, sinceName, pinnedName] = names(origin);
  localStorage.setItem(keyName, key);
  localStorage.setItem(sinceName, since);
  if (pinned) localStorage.setItem(pinnedName, "yes");
  else localStorage.removeItem(pinnedName);
  changed();
}

/** A key file may tell of changes of the key in further lines. */
function firstLine(key: string): string {
  return key.trim().split("\n")[0] ?? "";
}

let version = 0;
const listeners = new Set<() => void>();

function changed(): void {
  version += 1;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
