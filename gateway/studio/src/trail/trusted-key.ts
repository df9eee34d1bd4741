// The log's key: the one this browser saw first is kept, so that a key that changes is noticed.
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { logKey } from "../api/queries";

const KEY = "cairn.log-key";

export function useTrustedKey(): { key: string | null; changed: boolean; error: unknown } {
  const { data, error } = useQuery(logKey);
  const kept = localStorage.getItem(`${KEY}:${data?.origin}`);
  useEffect(() => {
    if (data && !localStorage.getItem(`${KEY}:${data.origin}`))
      localStorage.setItem(`${KEY}:${data.origin}`, data.key);
  }, [data]);
  if (!data) return { key: null, changed: false, error };
  return { key: kept ?? data.key, changed: kept !== null && kept !== data.key, error: null };
}
