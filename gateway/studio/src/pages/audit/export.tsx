// Records as a file, each line the proof of one: streamed to the reader's disk as the gateway makes them.
import { useState } from "react";
import { request } from "../../api/client";
import { save } from "../../trail/names";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Spinner } from "../../ui/feedback";
import { count, plural } from "../../ui/text";

/** Proofs that one download holds at most; the command line takes any number. */
const MOST = 10_000;

/** How many lines were not proofs: records of which none can be made any more. */
function unproved(text: string): number {
  return text.match(/^\{"id":[^\n]*"error":/gm)?.length ?? 0;
}

export function ProofsOf({ query }: { query: Record<string, string> }) {
  const [busy, setBusy] = useState<number | null>(null);
  const [error, setError] = useState<unknown>();
  const [said, setSaid] = useState("");
  const download = async () => {
    setBusy(0);
    setError(undefined);
    setSaid("");
    try {
      const answer = await request(
        `/v1/attributions/export?${new URLSearchParams({ ...query, limit: String(MOST) })}`,
      );
      let text = "";
      let lines = 0;
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
        text += part.value;
        lines += part.value.split("\n").length - 1;
        setBusy(lines);
      }
      save(text, "records.jsonl");
      const missing = unproved(text);
      const all = answer.headers.has("x-cairn-next")
        ? `The newest ${count(MOST)} are in it; choose a shorter period for the others, or use “cairn export”.`
        : `${plural(lines, "record")} in it, a proof a line.`;
      setSaid(missing > 0 ? `${all} Of ${count(missing)} no proof can be made any more.` : all);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(null);
    }
  };
  return (
    <div className="row row-wrap push">
      <ErrorNote error={error} />
      <span role="status" className="quiet small">
        {busy !== null ? `${plural(busy, "proof")} so far` : said && <Note>{said}</Note>}
      </span>
      <Button small disabled={busy !== null} onClick={download}>
        {busy !== null && <Spinner size={14} />}
        Download proofs
      </Button>
    </div>
  );
}
