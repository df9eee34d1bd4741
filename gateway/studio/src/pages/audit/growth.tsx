// Whether the log only grew: an earlier checkpoint against the present one, recomputed here from the log's tiles.
import { useMutation } from "@tanstack/react-query";
import { GitCommitVertical } from "lucide-react";
import { useEffect, useState } from "react";
import { request } from "../../api/client";
import type { Checkpoint } from "../../api/queries";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Spinner } from "../../ui/feedback";
import { TextArea } from "../../ui/field";
import { plural } from "../../ui/text";
import { parseCheckpoint, parsePublicKey, verifyCheckpoint } from "../../verify";
import { roots } from "./tiles";

const KEY = "cairn.first-checkpoint";

const tile = async (path: string) =>
  new Uint8Array(await (await request(`/v1/log/tile/${path}`)).arrayBuffer());

/** Checks both signatures, then both roots. Throws with what does not hold. */
async function check(earlier: string, now: string, key: string): Promise<{ from: number; to: number }> {
  const trusted = await parsePublicKey(key.trim());
  const [older, newer] = [parseCheckpoint(earlier), parseCheckpoint(now)];
  await verifyCheckpoint(older, trusted);
  await verifyCheckpoint(newer, trusted);
  const [from, to] = [Number(older.size), Number(newer.size)];
  if (from > to) {
    throw new Error(
      `The earlier checkpoint has ${from} entries and the present one ${to}: the log has shrunk.`,
    );
  }
  const [oldRoot, newRoot] = await roots(from, to, tile);
  if (newRoot !== newer.root)
    throw new Error("The log’s entries do not lead to the root that its checkpoint signs.");
  if (oldRoot !== older.root) {
    throw new Error(
      `The first ${from} entries are no longer those of the earlier checkpoint: the log was rewritten.`,
    );
  }
  return { from, to };
}

export function Growth({ now, publicKey }: { now: Checkpoint; publicKey: string }) {
  const [earlier, setEarlier] = useState(() => localStorage.getItem(`${KEY}:${now.origin}`) ?? "");
  // The first checkpoint that this browser sees is kept, so that there is one to compare with later.
  useEffect(() => {
    const name = `${KEY}:${now.origin}`;
    if (!localStorage.getItem(name)) localStorage.setItem(name, now.note);
  }, [now]);
  const run = useMutation({ mutationFn: () => check(earlier || now.note, now.note, publicKey) });
  return (
    <section className="card card-pad stack" aria-label="Growth of the log">
      <div>
        <h2>Has it only grown?</h2>
        <p className="quiet">
          Your browser recomputes both roots from the log’s own hashes: the earlier entries must all be there
          still, unchanged and in order.
        </p>
      </div>
      <TextArea
        label="Earlier checkpoint"
        rows={5}
        className="input mono"
        placeholder={now.note}
        hint="The first one that this browser saw, or paste one that you kept."
        value={earlier}
        onChange={(event) => setEarlier(event.target.value)}
      />
      <div>
        <Button look="primary" disabled={run.isPending} onClick={() => run.mutate()}>
          {run.isPending ? <Spinner /> : <GitCommitVertical size={16} aria-hidden />}
          Check
        </Button>
      </div>
      <div role="status">
        {run.data && (
          <Note tone="good">
            {run.data.from === run.data.to
              ? `The root over all ${plural(run.data.to, "entry", "entries")} is the signed one.`
              : `The first ${plural(run.data.from, "entry", "entries")} are unchanged; ${run.data.to - run.data.from} came after them.`}
          </Note>
        )}
      </div>
      <ErrorNote error={run.error} />
    </section>
  );
}
