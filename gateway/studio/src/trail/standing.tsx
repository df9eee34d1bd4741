// Where a passage stands, each step in the next: by what right it was searched, its datanet's snapshot, the record, the
// checkpoint, who witnessed that, and the blockchain that holds it.
import type { ReactNode } from "react";
import type { Schemas } from "../api/client";
import { date, Hash, moment, plural } from "../ui/text";
import type { Bundle } from "../verify/bundle";
import { parseCheckpoint } from "../verify/checkpoint";

type Passage = Schemas["Passage"];

interface Given {
  id: string;
  receipt: Schemas["Receipt"];
  passage: Passage;
  /** The proof; none while it is fetched. */
  bundle: Bundle | undefined;
}

export function Standing({ id, receipt, passage, bundle }: Given) {
  const snapshot = bundle?.record.retrieval?.datanets.find(({ name }) => name === passage.datanet);
  return (
    <ol className="chain">
      {bundle && <Right bundle={bundle} datanet={passage.datanet} />}
      <Link name="Datapoint" hash={passage.leaf} label="leaf hash of the datapoint">
        sealed with its text, contributor and licence
      </Link>
      <Link
        name={`Snapshot of ${passage.datanet}`}
        {...(snapshot ? { hash: snapshot.root } : {})}
        label="root of the snapshot"
      >
        {snapshot ? plural(snapshot.size, "datapoint") : "as it was when asked"}
      </Link>
      <Link name={`Record ${receipt.index} of the log`} hash={receipt.leaf} label="leaf hash of the record">
        {id}
      </Link>
      <Link
        name={`Checkpoint of ${plural(receipt.tree_size, "entry", "entries")}`}
        hash={receipt.root}
        label="root of the log"
      >
        {receipt.log}, signed
      </Link>
      {bundle && <Witnesses bundle={bundle} />}
      {bundle && <Anchor bundle={bundle} />}
    </ol>
  );
}

function Link({
  name,
  hash,
  label,
  missing,
  children,
}: {
  name: string;
  hash?: string;
  label: string;
  /** This link is not there: said, and drawn as open. */
  missing?: boolean;
  children: ReactNode;
}) {
  return (
    <li data-missing={missing || undefined}>
      <div className="chain-name">{name}</div>
      <div className="quiet small">{children}</div>
      {hash && <Hash value={hash} label={label} />}
    </li>
  );
}

const BASIS = {
  owner: "As its owner",
  public: "Open to everyone with a key",
  administrator: "As an administrator of the gateway",
} as const;

/** By what right the datanet was searched. */
function Right({ bundle, datanet }: { bundle: Bundle; datanet: string }) {
  const access = bundle.record.retrieval?.datanets.find(({ name }) => name === datanet)?.access;
  if (!access) return null;
  if (access.basis !== "grant") {
    return (
      <Link name={BASIS[access.basis]} label="">
        the right by which {datanet} was searched; no grant was needed
      </Link>
    );
  }
  const proof = bundle.grants?.find((one) => one.datanet === datanet);
  if (!proof) {
    return (
      <Link name="Under a grant" hash={access.grant} label="leaf hash of the grant">
        {datanet} was searched under it
      </Link>
    );
  }
  const { entry, index, terms } = proof;
  const by = {
    policy: `the terms${terms ? `, version ${terms.entry.version}` : ""}`,
    review: "its reviewers",
    owner: "its owner",
  }[entry.by];
  const limits = [
    entry.purposes.join(" and "),
    entry.rows === null ? "all rows" : `rows where ${entry.rows}`,
    ...(entry.retrievals_per_day === null
      ? []
      : [`at most ${plural(entry.retrievals_per_day, "search", "searches")} a day`]),
    entry.expires === null ? "without an end" : `until ${date(entry.expires)}`,
  ];
  return (
    <Link name={`Grant from ${by}`} hash={access.grant} label="leaf hash of the grant">
      {limits.join(" · ")} · entry {index} of the log
    </Link>
  );
}

function Witnesses({ bundle }: { bundle: Bundle }) {
  const seen = cosignatures(bundle);
  if (seen.length === 0) {
    return (
      <Link name="No witness" label="" missing>
        nobody outside has signed this checkpoint yet; compare checkpoints with other readers
      </Link>
    );
  }
  return (
    <Link name={plural(seen.length, "witness", "witnesses")} label="">
      {seen.map(({ witness, time }) => `${witness}, ${moment(time)}`).join("; ")}
    </Link>
  );
}

/** Names and times; what is wrong with a checkpoint is said where it is verified. */
function cosignatures(bundle: Bundle): { witness: string; time: string }[] {
  try {
    return parseCheckpoint(bundle.log.checkpoint).cosignatures.map(({ witness, time }) => ({
      witness,
      time: new Date(Number(time) * 1000).toISOString(),
    }));
  } catch {
    return [];
  }
}

function Anchor({ bundle }: { bundle: Bundle }) {
  const anchor = bundle.log.anchor?.anchor;
  if (!anchor) {
    return (
      <Link name="On no blockchain" label="" missing>
        this part of the log has not been written to one
      </Link>
    );
  }
  return (
    <Link
      name={`Blockchain ${anchor.event.chain_id}`}
      hash={anchor.event.block_hash}
      label="hash of the block"
    >
      the first {plural(anchor.size, "entry", "entries")} are in this block; contract {anchor.event.contract}
    </Link>
  );
}
