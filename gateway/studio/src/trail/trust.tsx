// Which key proofs are checked with, since when and on whose word; and the way to trust one from elsewhere.
import { KeyRound } from "lucide-react";
import { type FormEvent, useState } from "react";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { ErrorNote, Note } from "../ui/feedback";
import { TextArea } from "../ui/field";
import { count, date, Hash } from "../ui/text";
import { parseKeyFile } from "../verify";
import { pin, type TrustedKey, unpin } from "./trusted-key";

export function Trust({ trusted }: { trusted: TrustedKey }) {
  const [open, setOpen] = useState(false);
  const { key, changed, rotated, accept, origin, pinned, from } = trusted;
  if (!key || !origin) return null;
  return (
    <div className="stack-s">
      {changed && (
        <Note tone="bad">
          {pinned
            ? "The key that this gateway gives is not the one that you pinned. Ask its operator why before you trust any proof."
            : "The log’s key is not the one this browser saw first. Ask the operator why before you trust any proof."}
        </Note>
      )}
      {rotated && (
        <Note tone="good">
          <div className="row row-wrap">
            <span>
              The log changed its key at entry {count(rotated.size)}, {date(rotated.time)}. The key that is
              trusted here signed that, and so did the new one.
            </span>
            <Button small onClick={accept}>
              Keep the new key
            </Button>
          </div>
        </Note>
      )}
      <p className="quiet small">
        Checked with {from}: <Hash value={key.split("\n")[0] ?? key} label="key of the log" digits={28} />.{" "}
        {!pinned &&
          "That proves the answer if the gateway was honest then; a key that you have from elsewhere proves it without that."}
      </p>
      <div className="row row-wrap">
        <Button small look="quiet" onClick={() => setOpen(true)}>
          <KeyRound size={14} aria-hidden />
          {pinned ? "Pin another key" : "Pin a key from elsewhere"}
        </Button>
        {pinned && (
          <Button small look="quiet" onClick={() => unpin(origin)}>
            Forget the pinned key
          </Button>
        )}
      </div>
      <Pin origin={origin} open={open} onClose={() => setOpen(false)} />
    </div>
  );
}

function Pin({ origin, open, onClose }: { origin: string; open: boolean; onClose: () => void }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    // The dialog hangs in the page of another form.
    event.stopPropagation();
    setError(undefined);
    try {
      const { key } = await parseKeyFile(text);
      if (key.origin !== origin) {
        throw new Error(`it is the key of ${key.origin}, and this gateway’s log is ${origin}`);
      }
      pin(origin, text.trim());
      setText("");
      onClose();
    } catch (failure) {
      setError(`This cannot be pinned: ${failure instanceof Error ? failure.message : failure}.`);
    }
  };
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Pin the log’s key"
      description="Take it from a place that this gateway does not control: the operator’s web site, a signed message, a colleague."
    >
      <form className="stack" onSubmit={submit}>
        <TextArea
          label="Public key of the log"
          className="input mono"
          rows={4}
          placeholder={`${origin}+…`}
          hint="One line, as in the file cairn.pub."
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <ErrorNote error={error} />
        <div className="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" disabled={!text.trim()}>
            Pin it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
