// Finding a record: by its id, or by model, adapter, who asked, whose data, datanet and time.
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Search } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { useCaller } from "../../api/roles";
import type { RecordSearch } from "../../router";
import { Button } from "../../ui/button";
import { Empty, ErrorNote, Spinner, Waiting } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { Ago, count } from "../../ui/text";
import { ProofsOf } from "./export";
import { dayAfter } from "./period";
import { RecordView } from "./record";

type Filters = Omit<RecordSearch, "id">;

/** What is asked of the gateway; the last day is meant whole. */
export function asked({ to, ...rest }: Filters): Record<string, string> {
  const given = { ...rest, ...(to ? { to: dayAfter(to) } : {}) };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value)) as Record<string, string>;
}

export function Find() {
  const { tab: _, id, ...filters } = useSearch({ from: "/audit" });
  const navigate = useNavigate({ from: "/audit" });
  const caller = useCaller();
  const auditor = caller?.may("auditors") ?? false;
  const [text, setText] = useState(id ?? "");
  const [draft, setDraft] = useState<Filters>(filters);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) return navigate({ search: { tab: "record", id: text.trim() } });
    const given = Object.entries(draft).map(([name, value]) => [name, value?.trim()]);
    navigate({ search: { tab: "record", ...Object.fromEntries(given.filter(([, value]) => value)) } });
  };
  const clear = () => {
    setText("");
    setDraft({});
    navigate({ search: { tab: "record" } });
  };
  const set = (name: keyof Filters) => (event: { target: { value: string } }) =>
    setDraft({ ...draft, [name]: event.target.value });
  const field = (name: keyof Filters) => ({ value: draft[name] ?? "", onChange: set(name) });
  return (
    <div className="stack">
      <form className="card card-pad stack" onSubmit={submit}>
        <TextField
          label="Id of the answer"
          placeholder="chatcmpl-…"
          hint="The id of a completion; its record has the same. Without one, what you fill in below is searched for."
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <div className="find-fields">
          <TextField label="Model" placeholder="any" {...field("model")} />
          <TextField label="Adapter" placeholder="name, or 12 digits" {...field("adapter")} />
          {auditor && <TextField label="Asked by" placeholder="anyone" {...field("subject")} />}
          <TextField label="Contributor" placeholder="name, or pseudonym" {...field("contributor")} />
          <TextField label="Datanet" placeholder="any" {...field("datanet")} />
          <TextField label="From" type="date" {...field("from")} />
          <TextField label="To" type="date" {...field("to")} />
        </div>
        <div className="row row-wrap">
          <Button type="submit" look="primary">
            <Search size={16} aria-hidden />
            Find
          </Button>
          {(id || Object.keys(filters).length > 0) && <Button onClick={clear}>Clear</Button>}
        </div>
      </form>
      {id ? <RecordView key={id} id={id} /> : <Results filters={filters} auditor={auditor} />}
    </div>
  );
}

function Results({ filters, auditor }: { filters: Filters; auditor: boolean }) {
  const query = asked(filters);
  const found = useInfiniteQuery({
    queryKey: ["attributions", "found", query],
    queryFn: async ({ pageParam }) =>
      body(
        await api.GET("/v1/attributions", {
          params: { query: { ...query, ...(pageParam ? { after: pageParam } : {}) } },
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? null,
  });
  const rows = found.data?.pages.flatMap((page) => page.data);
  if (found.error) return <ErrorNote error={found.error} />;
  if (!rows) return <Waiting lines={6} />;
  if (rows.length === 0) {
    return (
      <div className="card">
        <Empty title="No record fits">
          {Object.keys(query).length > 0
            ? "Ask for less: leave a field empty, or choose a longer period."
            : auditor
              ? "Every answer leaves one; nobody has asked anything yet."
              : "Every answer leaves one; you have asked nothing yet."}
        </Empty>
      </div>
    );
  }
  return (
    <section className="stack" aria-labelledby="found">
      <div className="row row-wrap">
        <h2 id="found">{auditor ? "Records" : "Records of your answers"}</h2>
        <span className="quiet small">newest first</span>
        <ProofsOf query={query} />
      </div>
      <Table rows={rows} auditor={auditor} />
      {found.hasNextPage && (
        <div>
          <Button disabled={found.isFetchingNextPage} onClick={() => found.fetchNextPage()}>
            {found.isFetchingNextPage && <Spinner />}
            Show more
          </Button>
        </div>
      )}
    </section>
  );
}

function Table({ rows, auditor }: { rows: Schemas["AttributionSummary"][]; auditor: boolean }) {
  return (
    <TableCard label="Records found">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Question</th>
            <th scope="col">Model</th>
            {auditor && <th scope="col">Asked by</th>}
            <th scope="col">Datanets</th>
            <th scope="col" className="number">
              Citations
            </th>
            <th scope="col" className="number">
              Entry
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id}>
              <td className="quiet">
                <Ago at={row.created_at} />
              </td>
              <td>
                <Link
                  to="/audit"
                  search={{ tab: "record", id: row.id }}
                  className="table-link found-question"
                >
                  {row.question || row.id}
                </Link>
              </td>
              <td>{row.model}</td>
              {auditor && <td>{row.subject}</td>}
              <td>{row.datanets.join(", ") || <span className="quiet">none</span>}</td>
              <td className="number">
                {count(row.citations)} <span className="quiet">of {count(row.passages)}</span>
              </td>
              <td className="number">{row.index}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableCard>
  );
}
