// Audit: a proof from a file, records, uses of data, and the log itself.
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { checkpoint, logKey } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { save } from "../../trail/names";
import { type TrustedKey, useTrustedKey } from "../../trail/trusted-key";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { Tabs } from "../../ui/tabs";
import { Ago, CopyButton, count, Hash } from "../../ui/text";
import { BundleDrop } from "../../verify";
import { Contributors } from "./contributors";
import { Entries } from "./entries";
import { Find } from "./find";
import { Growth } from "./growth";
import { Outside } from "./outside";
import "./audit.css";

const tabs = (auditor: boolean) =>
  [
    ["proof", "Verify a proof"],
    ["record", "Find a record"],
    ["uses", auditor ? "Contributors" : "Uses of my data"],
    ["log", "The log"],
  ] as const;

export function Audit() {
  const search = useSearch({ from: "/audit" });
  const { tab = "proof" } = search;
  const navigate = useNavigate({ from: "/audit" });
  const caller = useCaller();
  return (
    <Page
      title="Audit"
      lead="Check what an answer drew on, against a log that can only grow. Nothing here asks you to trust this gateway."
    >
      <Tabs
        value={tab}
        tabs={tabs(caller?.may("auditors") ?? false)}
        onChange={(next) => navigate({ search: { tab: next }, replace: true })}
      >
        {tab === "proof" && <Proof />}
        {tab === "record" && <Find key={JSON.stringify(search)} />}
        {tab === "uses" && <Contributors />}
        {tab === "log" && <Log />}
      </Tabs>
    </Page>
  );
}

/** What is to be said of the log's key: that it changed, and whether the one this browser trusts signed that. */
function KeyNote({ trusted: { changed, rotated, accept } }: { trusted: TrustedKey }) {
  if (changed) {
    return (
      <Note tone="bad">
        The log’s key is not the one this browser saw first, and nothing that key signed leads to it. Ask the
        operator why before you trust a new proof.
      </Note>
    );
  }
  if (!rotated) return null;
  return (
    <Note tone="good">
      <div className="row row-wrap">
        <span>
          The log changed its key at entry {count(rotated.size)} (<Ago at={rotated.time} />
          ). The key this browser trusts signed that, and so did the new one.
        </span>
        <Button small className="push" onClick={accept}>
          Keep the new key
        </Button>
      </div>
    </Note>
  );
}

function Proof() {
  const trusted = useTrustedKey();
  const { key, error, from } = trusted;
  return (
    <div className="stack">
      <ErrorNote error={error} />
      <KeyNote trusted={trusted} />
      <p className="audit-lead quiet">
        A proof is one file. Your browser recomputes its hashes and checks its signature on this device; with
        the network off it works just the same.{" "}
        {key && "Without a key file, the log’s key that this browser knows is used."}
      </p>
      <BundleDrop publicKey={key} keyFrom={from} />
    </div>
  );
}

function Log() {
  const caller = useCaller();
  const { data, error } = useQuery({ ...checkpoint, refetchInterval: 10_000 });
  const key = useQuery(logKey);
  const trusted = useTrustedKey();
  if (error ?? key.error) return <ErrorNote error={error ?? key.error} />;
  if (!data || !key.data) return <Waiting lines={5} />;
  return (
    <div className="stack">
      <KeyNote trusted={trusted} />
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
            <Button small onClick={() => save(trusted.key ?? `${key.data.key}\n`, "cairn.pub")}>
              Download the key
            </Button>
          </span>
        </div>
        <pre className="note-text">{data.note}</pre>
      </section>
      <Outside now={data} />
      {caller?.may("auditors") && trusted.key && (
        <>
          <Growth now={data} trusted={trusted.key} />
          <Entries now={data} />
        </>
      )}
      <p className="quiet small">
        A signed note: the log’s name, how many entries it has, the root over all of them, and the signature.
        Keep one, and any later one must contain it.
      </p>
    </div>
  );
}
