// The log, entry by entry, newest first. Every entry is hashed here and compared with the log's tree before it is shown.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChevronLeft, ChevronRight } from "lucide-react";
import { type FormEvent, useState } from "react";
import type { Checkpoint } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button } from "../../ui/button";
import { Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { SelectField, TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, count, Hash, plural } from "../../ui/text";
import { parseEntry } from "../../verify";
import { KINDS, type Kind, type Place, type Said, said } from "./entry-words";
import { tile } from "./growth";
import { entriesOf, tileOf } from "./tiles";

interface Row {
  index: number;
  leaf: string;
  said: Said | null;
}

async function rows(page: number, size: number): Promise<Row[]> {
  const entries = await entriesOf(page, size, tile);
  return entries.reverse().map(({ index, bytes, leaf }) => {
    try {
      return { index, leaf, said: said(parseEntry(bytes)) };
    } catch {
      // Of a later version, perhaps. It is in the log all the same.
      return { index, leaf, said: null };
    }
  });
}

/** Rows shown before the reader asks for more. */
const SHOWN = 50;

export function Entries({ now }: { now: Checkpoint }) {
  // The size is that of when the page was opened, so that rows do not move while they are read.
  const [size, setSize] = useState(now.size);
  const last = tileOf(Math.max(0, size - 1));
  const [page, setPage] = useState(last);
  const [kind, setKind] = useState<Kind | "">("");
  const [shown, setShown] = useState(SHOWN);
  const [sought, setSought] = useState("");
  const { data, error } = useQuery({
    queryKey: ["log", "entries", page, size],
    queryFn: () => rows(page, size),
    enabled: size > 0,
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: keepPreviousData,
  });
  const turn = (to: number) => {
    setPage(to);
    setShown(SHOWN);
  };
  const seek = (event: FormEvent) => {
    event.preventDefault();
    const index = Number(sought);
    if (sought.trim() === "" || !Number.isInteger(index) || index < 0 || index >= size) return;
    setKind("");
    setPage(tileOf(index));
    setShown(Number.POSITIVE_INFINITY);
  };
  const found = data?.filter((row) => kind === "" || row.said?.kind === kind);
  const wanted = sought.trim() === "" ? null : Number(sought);
  return (
    <section className="stack" aria-labelledby="entries">
      <div className="row row-wrap">
        <h2 id="entries">Every entry</h2>
        <span className="quiet small">
          {count(size)} in all; your browser checks each against the log’s tree.
        </span>
        {now.size > size && (
          <Button
            small
            className="push"
            onClick={() => {
              setSize(now.size);
              turn(tileOf(now.size - 1));
            }}
          >
            Show {plural(now.size - size, "new entry", "new entries")}
          </Button>
        )}
      </div>
      <form className="card card-pad entries-query" onSubmit={seek}>
        <SelectField
          label="Kind"
          value={kind}
          onChange={(event) => {
            setKind(event.target.value as Kind | "");
            setShown(SHOWN);
          }}
        >
          <option value="">All kinds</option>
          {KINDS.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </SelectField>
        <TextField
          label="Entry number"
          type="number"
          min={0}
          max={Math.max(0, size - 1)}
          placeholder={`0 to ${Math.max(0, size - 1)}`}
          value={sought}
          onChange={(event) => setSought(event.target.value)}
        />
        <Button type="submit">Go to it</Button>
      </form>
      <ErrorNote error={error} />
      {size > 0 && !data && !error && <Waiting lines={6} />}
      {found?.length === 0 && (
        <div className="card">
          <Empty title="None of this kind here">
            {last > 0 ? "Entries are shown 256 at a time: turn to older ones." : "The log has none yet."}
          </Empty>
        </div>
      )}
      {found && found.length > 0 && (
        <TableCard label="Entries of the log">
          <table className="table">
            <TableHead columns={[{ number: "Entry" }, "When", "What it says", "Hash"]} />
            <tbody>
              {found.slice(0, shown).map((row) => (
                <tr key={row.index} data-sought={row.index === wanted || undefined}>
                  <td className="number">{row.index}</td>
                  <td className="quiet">{row.said && <Ago at={row.said.time} />}</td>
                  <td>
                    {row.said ? (
                      <About said={row.said} />
                    ) : (
                      <span className="quiet">of a kind unknown here</span>
                    )}
                  </td>
                  <td>
                    <Hash value={row.leaf} label={`hash of entry ${row.index}`} digits={8} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableCard>
      )}
      <div className="row row-wrap">
        {found && found.length > shown && (
          <Button onClick={() => setShown(Number.POSITIVE_INFINITY)}>
            Show {plural(found.length - shown, "more")}
          </Button>
        )}
        {last > 0 && (
          <span className="row push">
            <Button disabled={page >= last} onClick={() => turn(page + 1)}>
              <ChevronLeft size={16} aria-hidden />
              Newer
            </Button>
            <span className="quiet small numbers">
              {page * 256} to {Math.min(size, (page + 1) * 256) - 1}
            </span>
            <Button disabled={page <= 0} onClick={() => turn(page - 1)}>
              Older
              <ChevronRight size={16} aria-hidden />
            </Button>
          </span>
        )}
      </div>
    </section>
  );
}

function About({ said: { text, place } }: { said: Said }) {
  const caller = useCaller();
  // Runs and adapters are pages for those who may open them.
  const closed =
    (place?.to === "run" && !caller?.may("trainers")) ||
    (place?.to === "adapter" && !caller?.may("applications"));
  if (!place || closed) return <>{text}</>;
  return <To place={place}>{text}</To>;
}

function To({ place, children }: { place: Place; children: string }) {
  switch (place.to) {
    case "record":
      return (
        <Link to="/audit" search={{ tab: "record", id: place.id }}>
          {children}
        </Link>
      );
    case "datanet":
      return (
        <Link to="/datanets/$name" params={{ name: place.name }} search={place.tab ? { tab: place.tab } : {}}>
          {children}
        </Link>
      );
    case "adapter":
      return (
        <Link to="/adapters/$base/$name" params={{ base: place.base, name: place.name }}>
          {children}
        </Link>
      );
    case "run":
      return (
        <Link to="/train/$id" params={{ id: place.id }}>
          {children}
        </Link>
      );
  }
}
