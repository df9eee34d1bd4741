// A datapoint in a list: its text, cut until one wants all of it, and who it is from.
import { type ReactNode, useState } from "react";
import type { Schemas } from "../../api/client";
import { titleOf } from "../../trail/names";
import { date, Hash } from "../../ui/text";

type Shown = Pick<
  Schemas["Candidate"],
  "id" | "contributor" | "contributed_at" | "source" | "licence" | "metadata" | "leaf"
> & { text?: string | null };

const LONG = 280;

export function DatapointCard({
  datapoint,
  action,
  children,
}: {
  datapoint: Shown;
  /** What can be done with it. */
  action?: ReactNode;
  children?: ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const text = datapoint.text ?? "";
  const title = titleOf(datapoint);
  const { file, page } = datapoint.metadata as Record<string, unknown>;
  // Dictionaries repeat the headword as the first line.
  const rest = text.startsWith(`${title}\n`) ? text.slice(title.length).trim() : text;
  const long = rest.length > LONG;
  return (
    <li className="datapoint">
      <div className="row row-wrap">
        <h3 className="datapoint-title">{title}</h3>
        <span className="push row">
          {action}
          <Hash value={datapoint.leaf} label="leaf hash" digits={8} />
        </span>
      </div>
      <p className="datapoint-text">{open || !long ? rest : `${rest.slice(0, LONG).trimEnd()}…`}</p>
      {children}
      <p className="quiet small">
        {datapoint.contributor} · {date(datapoint.contributed_at)}
        {datapoint.licence && ` · ${datapoint.licence}`}
        {typeof file === "string" && ` · ${file}${typeof page === "number" ? `, page ${page}` : ""}`}
        {open && datapoint.source && ` · ${datapoint.source}`}
        {open && ` · ${datapoint.id}`}
        {long && (
          <button type="button" className="text-button" aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Show less" : "Show all"}
          </button>
        )}
      </p>
    </li>
  );
}
