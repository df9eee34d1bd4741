//! Where the reader says which block they found on the blockchain: without it, the block in the file may be made up.

import { type FormEvent, useId, useState } from "react";
import { type Anchor, parseBlockHash } from "./anchor.ts";

interface Props {
  anchor: Anchor;
  /** The hash that is pinned now. */
  pinned: string | null;
  onPin: (blockHash: string | null) => void;
}

export function AnchorPin({ anchor: { event }, pinned, onPin }: Props) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const ids = { input: useId(), hint: useId() };
  const submit = (submitted: FormEvent) => {
    submitted.preventDefault();
    try {
      onPin(parseBlockHash(text));
      setProblem(null);
    } catch (error) {
      setProblem(`This is no hash: ${error instanceof Error ? error.message : error}.`);
    }
  };
  if (pinned) {
    return (
      <div className="verify-pin">
        <p className="verify-title">Checked against the block that you gave</p>
        <p className="verify-detail">
          <code>{pinned}</code>
        </p>
        <button type="button" className="button button-plain button-small" onClick={() => onPin(null)}>
          Check without it
        </button>
      </div>
    );
  }
  return (
    <form className="verify-pin" onSubmit={submit}>
      <label htmlFor={ids.input} className="verify-title">
        Hash of the block, from a block explorer that you trust
      </label>
      <p id={ids.hint} className="verify-detail">
        Find contract {event.contract} on blockchain {event.chain_id} there. Copying the hash from this file
        would prove nothing.
      </p>
      <input
        id={ids.input}
        className="input"
        autoComplete="off"
        spellCheck={false}
        placeholder="0x…"
        aria-describedby={ids.hint}
        aria-invalid={problem ? true : undefined}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      {problem && (
        <p className="verify-problem" role="alert">
          {problem}
        </p>
      )}
      <button type="submit" className="button button-plain button-small" disabled={!text.trim()}>
        Check against it
      </button>
    </form>
  );
}
