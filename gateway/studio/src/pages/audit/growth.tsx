// Whether the log only grew: any two states of it, recomputed here from the log's own hashes.
import { useMutation } from "@tanstack/react-query";
import { GitCommitVertical } from "lucide-react";
import { useEffect, useState } from "react";
import { request } from "../../api/client";
import type { Checkpoint } from "../../api/queries";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Spinner } from "../../ui/feedback";
import { TextArea } from "../../ui/field";
import { Hash, plural } from "../../ui/text";
import { type Consistent, consistent } from "./consistency";

const KEY = "cairn.first-checkpoint";

/** A tile or an entry bundle of this log. */
export const tile = async (path: string) =>
  new Uint8Array(await (await request(`/v1/log/tile/${path}`)).arrayBuffer());

/** `trusted`: the text of a key file. */
export function Growth({ now, trusted }: { now: Checkpoint; trusted: string }) {
  const first = localStorage.getItem(`${KEY}:${now.origin}`) ?? "";
  const [earlier, setEarlier] = useState(first);
  const [later, setLater] = useState("");
  // The first checkpoint that this browser sees is kept, so that there is one to compare with later.
  useEffect(() => {
    const name = `${KEY}:${now.origin}`;
    if (!localStorage.getItem(name)) localStorage.setItem(name, now.note);
  }, [now]);
  const run = useMutation({
    mutationFn: () =>
      consistent(
        { earlier: earlier || now.note, later: later || now.note, now: now.note, key: trusted },
        tile,
      ),
  });
  return (
    <section className="card card-pad stack" aria-label="Growth of the log">
      <div>
        <h2>Has it only grown?</h2>
        <p className="quiet">
          Compare any two states of the log. Your browser recomputes the root of each from the log’s own
          hashes: the earlier entries must all be there still, unchanged and in order.
        </p>
      </div>
      <div className="states">
        <TextArea
          label="Earlier checkpoint"
          rows={6}
          className="input mono"
          placeholder={now.note}
          hint="The first one that this browser saw. Paste one that you kept, or give a number of entries."
          value={earlier}
          onChange={(event) => setEarlier(event.target.value)}
        />
        <TextArea
          label="Later checkpoint"
          rows={6}
          className="input mono"
          placeholder={now.note}
          hint="Empty: the present one. Or another that you kept, or a number of entries."
          value={later}
          onChange={(event) => setLater(event.target.value)}
        />
      </div>
      <div className="row row-wrap">
        <Button look="primary" disabled={run.isPending} onClick={() => run.mutate()}>
          {run.isPending ? <Spinner /> : <GitCommitVertical size={16} aria-hidden />}
          Check
        </Button>
        {first && earlier !== first && (
          <Button small onClick={() => setEarlier(first)}>
            Begin with the first one seen here
          </Button>
        )}
      </div>
      <div role="status">{run.data && <Found found={run.data} />}</div>
      <ErrorNote error={run.error} />
    </section>
  );
}

function Found({ found: { from, to, fromRoot, toRoot, signed } }: { found: Consistent }) {
  return (
    <Note tone="good">
      {from === to
        ? `The root over all ${plural(to, "entry", "entries")} is ${signed ? "the signed one" : "computed"}.`
        : `The first ${plural(from, "entry", "entries")} ${from === 1 ? "is" : "are"} unchanged; ${to - from} came after.`}
      <dl className="facts facts-small">
        <dt>Root at {from}</dt>
        <dd>
          <Hash value={fromRoot} label={`root at ${from}`} digits={24} />
        </dd>
        {from !== to && (
          <>
            <dt>Root at {to}</dt>
            <dd>
              <Hash value={toRoot} label={`root at ${to}`} digits={24} />
            </dd>
          </>
        )}
      </dl>
      {!signed && (
        <p>A number of entries is not signed: compare its root with one that you had from elsewhere.</p>
      )}
    </Note>
  );
}
