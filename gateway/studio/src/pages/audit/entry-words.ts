// What an entry of the log says, in a few words, and where what it is about is shown.
import type { Entry } from "../../verify/entry.ts";

/** The kinds of entries, as readers choose among them. */
export const KINDS = [
  ["record", "Answers"],
  ["influence", "Measured influence"],
  ["snapshot", "States of datanets"],
  ["tombstone", "Erasures"],
  ["contribution", "Contributions"],
  ["terms", "Terms"],
  ["access", "Access requests"],
  ["grant", "Grants"],
  ["adapter", "Adapters"],
  ["training", "Training runs"],
  ["rotation", "Changes of the log’s key"],
] as const;

export type Kind = (typeof KINDS)[number][0];

/** Where in the studio. */
export type Place =
  | { to: "record"; id: string }
  | { to: "datanet"; name: string; tab?: "terms" | "access" | "about" }
  | { to: "adapter"; base: string; name: string }
  | { to: "run"; id: string };

export interface Said {
  kind: Kind;
  time: string;
  text: string;
  place: Place | null;
}

export function said(entry: Entry): Said {
  const kind = entry.type.split("/")[1] as Kind;
  const as = (time: string, text: string, place: Place | null = null): Said => ({ kind, time, text, place });
  switch (entry.type) {
    case "cairn/record/v1": {
      const searched = entry.retrieval?.datanets.map(({ name }) => name).join(", ");
      const from = searched ? `, drawing on ${searched}` : "";
      return as(entry.time, `Answer by ${entry.model}${from}`, { to: "record", id: entry.id });
    }
    case "cairn/influence/v1":
      return as(entry.time, `How much ${passages(entry.passages.length)} mattered to an answer`, {
        to: "record",
        id: entry.id,
      });
    case "cairn/snapshot/v1":
      return as(entry.time, `${entry.datanet} has ${number(entry.size, "datapoint")}`, {
        to: "datanet",
        name: entry.datanet,
        tab: "about",
      });
    case "cairn/tombstone/v1":
      return as(entry.time, `Datapoint ${entry.seq} of ${entry.datanet} was erased`, {
        to: "datanet",
        name: entry.datanet,
      });
    case "cairn/contribution/v1":
      return as(
        entry.time,
        `A contribution of ${number(entry.rows, "datapoint")} to ${entry.datanet} was ${entry.outcome}`,
        { to: "datanet", name: entry.datanet },
      );
    case "cairn/terms/v1":
      return as(entry.time, `Terms of ${entry.datanet}, version ${entry.version}`, {
        to: "datanet",
        name: entry.datanet,
        tab: "terms",
      });
    case "cairn/grant/v1":
      return as(entry.issued, `A grant to use ${entry.datanet} for ${entry.purposes.join(" and ")}`, {
        to: "datanet",
        name: entry.datanet,
        tab: "access",
      });
    case "cairn/access/v1":
      return as(entry.time, access(entry), { to: "datanet", name: entry.datanet, tab: "access" });
    case "cairn/adapter/v1": {
      const name = entry.alias ?? entry.generation?.slice(0, 12) ?? "";
      const place = entry.alias ? ({ to: "adapter", base: entry.base, name: entry.alias } as const) : null;
      const words = ADAPTER[entry.action] ?? entry.action;
      return as(entry.at, `Adapter ${name} on ${entry.base}: ${words} by ${entry.actor}`, place);
    }
    case "cairn/training/v1":
      return as(
        entry.time,
        `An adapter of ${entry.base} was trained on ${number(entry.rows.learnt, "row")}`,
        { to: "run", id: entry.job },
      );
    case "cairn/rotation/v1":
      return as(entry.time, "From here on the log signs with another key");
  }
}

const ADAPTER: Record<string, string> = {
  upload: "uploaded",
  publish: "published",
  rollback: "rolled back",
  canary: "trial begun, changed or ended",
  unpublish: "name taken away",
  visibility: "shared with others than before",
  grant: "granted to a subject",
  revoke: "grant taken back",
  delete: "deleted",
};

function access(entry: Extract<Entry, { type: "cairn/access/v1" }>): string {
  switch (entry.action) {
    case "request":
      return `Someone asked for access to ${entry.datanet}`;
    case "decision":
      return `A request for ${entry.datanet} was ${entry.outcome} (${entry.by})`;
    case "vote":
      return `A reviewer said ${entry.approve ? "yes" : "no"} to a request for ${entry.datanet}`;
    case "revocation":
      return `A grant of ${entry.datanet} was revoked`;
    case "appeal":
      return `A refusal of ${entry.datanet} was appealed against`;
  }
}

function number(count: number, one: string): string {
  return `${count} ${count === 1 ? one : `${one}s`}`;
}

function passages(count: number): string {
  return count === 1 ? "the passage" : `each of ${count} passages`;
}
