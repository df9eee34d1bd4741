// Audit: a record by its id, a proof from a file, and where the log stands.
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Search } from "lucide-react";
import { type FormEvent, useState } from "react";
import { checkpoint, logKey } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { save } from "../../trail/names";
import { useTrustedKey } from "../../trail/trusted-key";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { Page } from "../../ui/page";
import { Tabs } from "../../ui/tabs";
import { CopyButton, count, Hash } from "../../ui/text";
import { BundleDrop } from "../../verify";
import { Contributors } from "./contributors";
import { Growth } from "./growth";
import { Outside } from "./outside";
import { RecordView } from "./record";
import "./audit.css";

const TABS = [
  ["proof", "Verify a proof"],
  ["record", "Find a record"],
  ["uses", "Contributors"],
  ["log", "The log"],
] as const;

export function Audit() {
  const { tab = "proof" } = useSearch({ from: "/audit" });
  const navigate = useNavigate({ from: "/audit" });
  return (
    <Page
      title="Audit"
      lead="Check what an answer drew on, against a log that can only grow. Nothing here asks you to trust this gateway."
    >
      <Tabs value={tab} tabs={TABS} onChange={(next) => navigate({ search: { tab: next }, replace: true })}>
        {tab === "proof" && <Proof />}
        {tab === "record" && <Find />}
        {tab === "uses" && <Contributors />}
        {tab === "log" && <Log />}
      </Tabs>
    </Page>
  );
}

function Proof() {
  const { key, changed, error } = useTrustedKey();
  return (
    <div className="stack">
      <ErrorNote error={error} />
      {changed && (
        <Note tone="bad">The log’s key is not the one this browser saw first. Ask the operator why.</Note>
      )}
      <p className="audit-lead quiet">
        A proof is one file. Your browser recomputes its hashes and checks its signature on this device; with
        the network off it works just the same.{" "}
        {key && "Without a key file, the log’s key that this browser knows is used."}
      </p>
      <BundleDrop publicKey={key} />
    </div>
  );
}

function Find() {
  const { id } = useSearch({ from: "/audit" });
  const navigate = useNavigate({ from: "/audit" });
  const [text, setText] = useState(id ?? "");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) navigate({ search: { tab: "record", id: text.trim() } });
  };
  return (
    <div className="stack">
      <form className="card card-pad find" onSubmit={submit}>
        <TextField
          label="Id of the answer"
          placeholder="chatcmpl-…"
          hint="The id of a completion; its attribution has the same."
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <Button type="submit" look="primary" disabled={!text.trim()}>
          <Search size={16} aria-hidden />
          Find
        </Button>
      </form>
      {id && <RecordView key={id} id={id} />}
    </div>
  );
}

function Log() {
  const caller = useCaller();
  const { data, error } = useQuery({ ...checkpoint, refetchInterval: 10_000 });
  const key = useQuery(logKey);
  if (error ?? key.error) return <ErrorNote error={error ?? key.error} />;
  if (!data || !key.data) return <Waiting lines={5} />;
  return (
    <div className="stack">
      <div className="card card-pad">
        <dl className="facts">
          <dt>Name</dt>
          <dd className="mono">{data.origin}</dd>
          <dt>Entries</dt>
          <dd className="numbers">{count(data.size)}</dd>
          <dt>Root</dt>
          <dd>
            <Hash value={data.root} label="root hash" digits={44} />
          </dd>
          <dt>Public key</dt>
          <dd>
            <Hash value={key.data.key} label="public key" digits={64} />
          </dd>
        </dl>
      </div>
      <section className="card" aria-label="Checkpoint">
        <div className="card-head">
          <h2>Latest checkpoint</h2>
          <span className="push row">
            <CopyButton text={data.note} label="Copy the checkpoint" />
            <Button small onClick={() => save(`${key.data.key}\n`, "cairn.pub")}>
              Download the key
            </Button>
          </span>
        </div>
        <pre className="note-text">{data.note}</pre>
      </section>
      <Outside now={data} />
      {caller?.may("auditors") && <Growth now={data} publicKey={key.data.key} />}
      <p className="quiet small">
        A signed note: the log’s name, how many entries it has, the root over all of them, and the signature.
        Keep one, and any later one must contain it.
      </p>
    </div>
  );
}
