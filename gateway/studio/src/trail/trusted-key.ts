// The log's key: the one this browser saw first is kept, so that a key that changes is noticed. A change that the kept key
// itself signed proves itself; the reader is told, and may keep the new key from then on.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Schemas } from "../api/client";
import { logKey } from "../api/queries";
import { canonical, type Json } from "../verify/canonical";
import { type Trust, trustOf } from "../verify/key-text";

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
}

export function useTrustedKey(): TrustedKey {
  const { data, error } = useQuery(logKey);
  const name = `${KEY}:${data?.origin}`;
  const kept = localStorage.getItem(name);
  const [, setAccepted] = useState(0);
  useEffect(() => {
    if (data && !localStorage.getItem(`${KEY}:${data.origin}`))
      localStorage.setItem(`${KEY}:${data.origin}`, data.key);
  }, [data]);
  const trusted = kept ?? data?.key ?? "";
  const { data: leads } = useQuery({
    queryKey: ["log", "trust", trusted, data?.key, data?.rotations?.length ?? 0],
    queryFn: () => follow(trusted, data as Schemas["LogKey"]),
    enabled: data !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const accept = () => {
    if (data && leads?.current) localStorage.setItem(name, data.key);
    setAccepted((times) => times + 1);
  };
  if (!data || !leads) return { key: null, changed: false, rotated: null, accept, error };
  const other = trusted !== data.key;
  return {
    key: leads.text,
    changed: other && !leads.current,
    rotated: other && leads.current ? (leads.last ?? null) : null,
    accept,
    error: null,
  };
}

/** Where a trusted key leads by the log's changes of key; by itself alone where they do not hold. */
async function follow(trusted: string, { key, rotations = [] }: Schemas["LogKey"]) {
  const lines = rotations.map((rotation) => canonical(rotation as unknown as Json));
  const text = [trusted, ...lines, ""].join("\n");
  try {
    const trust: Trust = await trustOf(text);
    const last = trust.rotations.at(-1);
    const current = last ? last.next === key : trusted === key;
    return { text, current, ...(last ? { last: { size: last.size, time: last.time } } : {}) };
  } catch {
    return { text: `${trusted}\n`, current: trusted === key };
  }
}
