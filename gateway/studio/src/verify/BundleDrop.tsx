//! A place to drop a proof bundle and, if at hand, the log's key. Nothing leaves the browser.

import { type ChangeEvent, type DragEvent, useId, useState } from "react";
import { VerifySteps } from "./VerifySteps.tsx";
import type { Verification } from "./verify.ts";

interface Props {
  /** A key that the reader trusts already; a key file takes its place. */
  publicKey?: string | null;
  /** Whose word stands behind that key, as a part of a sentence. */
  keyFrom?: string;
  /** Called when a bundle has been checked. */
  onDone?: (verification: Verification) => void;
}

interface Chosen {
  name: string;
  bytes: Uint8Array;
}

/** Bundles have some kilobytes to some megabytes; what is larger is another file, dropped by mistake. */
const MAX_BYTES = 64 << 20;

/** Takes a bundle by drag and drop or by the file dialog, and verifies it. */
export function BundleDrop({ publicKey = null, keyFrom, onDone }: Props) {
  const [bundle, setBundle] = useState<Chosen | null>(null);
  const [key, setKey] = useState<{ name: string; text: string } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const ids = { bundle: useId(), key: useId(), hint: useId() };

  async function take(files: File[]) {
    setProblem(null);
    for (const file of files) {
      if (file.size > MAX_BYTES) {
        setProblem(
          `${file.name} has ${file.size >> 20} MiB; a proof bundle has at most ${MAX_BYTES >> 20} MiB.`,
        );
        return;
      }
      try {
        // A key file is one short line; a bundle begins with a brace.
        const bytes = new Uint8Array(await file.arrayBuffer());
        if (bytes[0] !== 0x7b && bytes.length < 512)
          setKey({ name: file.name, text: new TextDecoder().decode(bytes) });
        else setBundle({ name: file.name, bytes });
      } catch (error) {
        setProblem(`${file.name} cannot be read: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  function drop(event: DragEvent) {
    event.preventDefault();
    setOver(false);
    void take([...event.dataTransfer.files]);
  }

  function drag(event: DragEvent, inside: boolean) {
    event.preventDefault();
    setOver(inside);
  }

  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    void take([...(event.target.files ?? [])]);
    // So that choosing the same file again is a change.
    event.target.value = "";
  };

  return (
    <div className="verify-drop">
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is a shortcut; the inputs inside do the same by keyboard */}
      <div
        className="verify-zone"
        data-over={over}
        onDragOver={(event) => drag(event, true)}
        onDragLeave={(event) => drag(event, false)}
        onDrop={drop}
      >
        <div className="verify-field">
          <label htmlFor={ids.bundle}>Proof bundle</label>
          <input
            id={ids.bundle}
            type="file"
            accept=".json,application/json"
            onChange={choose}
            aria-describedby={ids.hint}
          />
          {bundle && <p className="verify-chosen">{bundle.name}</p>}
        </div>
        <div className="verify-field">
          <label htmlFor={ids.key}>Public key of the log (optional)</label>
          <input id={ids.key} type="file" accept=".pub,text/plain" onChange={choose} />
          {key && <p className="verify-chosen">{key.name}</p>}
        </div>
        <p id={ids.hint} className="verify-hint">
          Drop both here, or choose them. They are checked on this device and sent nowhere. Take the key from
          a source you trust, and not together with the bundle.
        </p>
      </div>
      {problem && (
        <p className="verify-problem" role="alert">
          {problem}
        </p>
      )}
      {bundle && (
        <VerifySteps
          bytes={bundle.bytes}
          publicKey={key?.text ?? publicKey}
          {...(key ? { keyFrom: `the key in ${key.name}` } : keyFrom && { keyFrom })}
          {...(onDone && { onDone })}
        />
      )}
    </div>
  );
}
