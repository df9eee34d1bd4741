// The ledger: whose data answers drew on, by contributor, datanet and month, and every use with its record. Auditors see
// everyone's; others the uses of what they contributed and of datanets they own.
import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, body, request, type Schemas } from "../../api/client";
import { useCaller } from "../../api/roles";
import { save } from "../../trail/names";
import { Button } from "../../ui/button";
import { Empty, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, plural } from "../../ui/text";
import { ProofsOf } from "./export";
import { dayAfter } from "./period";
import { UsesCheck } from "./uses-check";

interface Period {
  contributor: string;
  datanet: string;
  from: string;
  to: string;
}

/** What is asked of the gateway; a day stands for its beginning in UTC, and the last one is meant whole. */
function asked({ contributor, datanet, from, to }: Period) {
  const given = { contributor: contributor.trim(), datanet: datanet.trim(), from, to: to && dayAfter(to) };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value)) as Record<string, string>;
}

const LINES = 200;

export function Contributors() {
  const auditor = useCaller()?.may("auditors") ?? false;
  const { contributor = "", datanet = "" } = useSearch({ from: "/audit" });
  const [period, setPeriod] = useState<Period>({ contributor, datanet, from: "", to: "" });
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
        {auditor
          ? "Every use of contributed data, and how much of each answer’s help it was: what a payout would be computed from. "
          : "Every answer that drew on what you contributed, or on a datanet that you own, and how much of its help that was. "}
        Each line leads to what the log holds of that answer.
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
          auditor={auditor}
          onContributor={(contributor) => setPeriod({ ...period, contributor })}
        />
      )}
    </div>
  );
}

function Found({
  ledger,
  query,
  auditor,
  onContributor,
}: {
  ledger: Schemas["Ledger"];
  query: Record<string, string>;
  auditor: boolean;
  onContributor: (name: string) => void;
}) {
  if (ledger.lines.length === 0) {
    return (
      <div className="card">
        {auditor || Object.keys(query).length > 0 ? (
          <Empty title={auditor ? "No use in this period" : "No use of yours fits"}>
            Answers that draw on a datanet show up here, one line a contributor.
          </Empty>
        ) : (
          <Empty title="No answer has drawn on your data yet">
            What you contribute to a datanet shows up here once an answer draws on it; so does every use of a
            datanet that you own. Uses of others’ data are for auditors to see.
          </Empty>
        )}
      </div>
    );
  }
  return (
    <>
      <Totals totals={ledger.totals} onContributor={onContributor} />
      <p className="quiet small audit-lead">
        A share of 100 % means that all the help the passages were to an answer came from this contributor.
        The sum of shares counts it in whole answers: 2.5 is as much help as two and a half answers had.
        Shares are measured after an answer was given.
      </p>
      {query.contributor && <UsesCheck key={query.contributor} contributor={query.contributor} />}
      <section className="stack" aria-labelledby="uses">
        <div className="row row-wrap">
          <h2 id="uses">Every use</h2>
          <Export query={query} proofs={auditor} />
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
            <TableHead
              columns={["When", "Answer", "Datanet", "Contributor", { number: "Share" }, { number: "Entry" }]}
            />
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
        <TableHead
          columns={[
            "Contributor",
            "Datanet",
            "Month",
            { number: "Answers" },
            { number: "Measured" },
            { number: "Sum of shares" },
          ]}
        />
        <tbody>
          {totals.map((one) => (
            <tr key={`${one.month} ${one.datanet} ${one.contributor}`}>
              <td>
                <Button small look="quiet" className="in-cell" onClick={() => onContributor(one.contributor)}>
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
function Export({ query, proofs }: { query: Record<string, string>; proofs: boolean }) {
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
    <div className="row row-wrap push">
      <ErrorNote error={error} />
      <Button small onClick={() => fetched("csv")}>
        Download CSV
      </Button>
      <Button small onClick={() => fetched("json")}>
        Download JSON
      </Button>
      {proofs && <ProofsOf query={query} />}
    </div>
  );
}

function share(value: number | null | undefined): string {
  return value === null || value === undefined ? "not measured" : `${(value * 100).toFixed(0)} %`;
}
