// The ledger: whose data answers drew on, by contributor, datanet and month, and every use with its record.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, body, request, type Schemas } from "../../api/client";
import { save } from "../../trail/names";
import { Button } from "../../ui/button";
import { Empty, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { Ago, plural } from "../../ui/text";

interface Period {
  contributor: string;
  datanet: string;
  from: string;
  to: string;
}

/** What is asked of the gateway; a day stands for its beginning in UTC, and the last one is meant whole. */
function asked({ contributor, datanet, from, to }: Period) {
  const after = to && new Date(Date.parse(`${to}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);
  const given = { contributor: contributor.trim(), datanet: datanet.trim(), from, to: after };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
}

const LINES = 200;

export function Contributors() {
  const [period, setPeriod] = useState<Period>({ contributor: "", datanet: "", from: "", to: "" });
  const query = asked(period);
  const { data, error } = useQuery({
    queryKey: ["ledger", query],
    queryFn: async () => body(await api.GET("/v1/ledger", { params: { query } })),
  });
  const set = (name: keyof Period) => (event: { target: { value: string } }) =>
    setPeriod({ ...period, [name]: event.target.value });
  return (
    <div className="stack">
      <p className="audit-lead quiet">
        Every use of contributed data, and how much of each answer’s help it was: what a payout would be
        computed from. Each line leads to its record in the log.
      </p>
      <div className="card card-pad ledger-query">
        <TextField
          label="Contributor"
          placeholder="all"
          value={period.contributor}
          onChange={set("contributor")}
        />
        <TextField label="Datanet" placeholder="all" value={period.datanet} onChange={set("datanet")} />
        <TextField label="From" type="date" value={period.from} onChange={set("from")} />
        <TextField label="To" type="date" value={period.to} onChange={set("to")} />
      </div>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={5} />}
      {data && (
        <Found
          ledger={data}
          query={query}
          onContributor={(contributor) => setPeriod({ ...period, contributor })}
        />
      )}
    </div>
  );
}

function Found({
  ledger,
  query,
  onContributor,
}: {
  ledger: Schemas["Ledger"];
  query: Record<string, string>;
  onContributor: (name: string) => void;
}) {
  if (ledger.lines.length === 0) {
    return (
      <div className="card">
        <Empty title="No use in this period">
          Answers that draw on a datanet show up here, one line a contributor.
        </Empty>
      </div>
    );
  }
  return (
    <>
      <Totals totals={ledger.totals} onContributor={onContributor} />
      <section className="stack" aria-labelledby="uses">
        <div className="row row-wrap">
          <h2 id="uses">Every use</h2>
          <Export query={query} />
        </div>
        {(ledger.has_more || ledger.lines.length > LINES) && (
          <Note>
            {plural(ledger.lines.length, "use")}
            {ledger.has_more && " and more"}; the latest {Math.min(LINES, ledger.lines.length)} are shown
            here, the files have
            {ledger.has_more ? " the first 10,000: choose a shorter period for the others" : " all"}.
          </Note>
        )}
        <TableCard label="Every use">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">Answer</th>
                <th scope="col">Datanet</th>
                <th scope="col">Contributor</th>
                <th scope="col" className="number">
                  Share
                </th>
                <th scope="col" className="number">
                  Entry
                </th>
              </tr>
            </thead>
            <tbody>
              {ledger.lines
                .slice(-LINES)
                .reverse()
                .map((line) => (
                  <tr key={`${line.answer} ${line.datanet} ${line.contributor}`}>
                    <td className="quiet">
                      <Ago at={line.at} />
                    </td>
                    <td>
                      <Link to="/audit" search={{ tab: "record", id: line.answer }} className="mono">
                        {line.answer}
                      </Link>
                    </td>
                    <td>{line.datanet}</td>
                    <td>{line.contributor}</td>
                    <td className="number">{share(line.share)}</td>
                    <td className="number">{line.record_index}</td>
                  </tr>
                ))}
            </tbody>
          </table>
        </TableCard>
      </section>
    </>
  );
}

function Totals({
  totals,
  onContributor,
}: {
  totals: Schemas["LedgerTotal"][];
  onContributor: (name: string) => void;
}) {
  return (
    <TableCard label="By contributor and month">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Contributor</th>
            <th scope="col">Datanet</th>
            <th scope="col">Month</th>
            <th scope="col" className="number">
              Answers
            </th>
            <th scope="col" className="number">
              Measured
            </th>
            <th scope="col" className="number">
              Answers’ worth
            </th>
          </tr>
        </thead>
        <tbody>
          {totals.map((one) => (
            <tr key={`${one.month} ${one.datanet} ${one.contributor}`}>
              <td>
                <Button small look="quiet" onClick={() => onContributor(one.contributor)}>
                  {one.contributor}
                </Button>
              </td>
              <td>{one.datanet}</td>
              <td className="numbers">{one.month}</td>
              <td className="number">{one.answers}</td>
              <td className="number">{one.measured}</td>
              <td className="number">{one.share.toFixed(2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableCard>
  );
}

/** The period as files, as the gateway writes them. */
function Export({ query }: { query: Record<string, string> }) {
  const [error, setError] = useState<unknown>();
  const fetched = async (format: "csv" | "json") => {
    setError(undefined);
    try {
      const answer = await request(`/v1/ledger?${new URLSearchParams({ ...query, format })}`);
      save(await answer.text(), `ledger.${format}`);
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <div className="row push">
      <ErrorNote error={error} />
      <Button small onClick={() => fetched("csv")}>
        Download CSV
      </Button>
      <Button small onClick={() => fetched("json")}>
        Download JSON
      </Button>
    </div>
  );
}

function share(value: number | null | undefined): string {
  return value === null || value === undefined ? "not measured" : `${(value * 100).toFixed(0)} %`;
}
