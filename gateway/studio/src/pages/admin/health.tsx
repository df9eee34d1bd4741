// How the gateway is doing: readiness, and its own metrics in words.
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useMemo } from "react";
import { health, metrics } from "../../api/queries";
import { Badge, ErrorNote, Waiting } from "../../ui/feedback";
import { TableCard } from "../../ui/scroll";
import { count } from "../../ui/text";
import { mean, parseMetrics, total } from "./metrics";
import "../home/home.css";
import { TableHead } from "../../ui/table";

export function Health() {
  const ready = useQuery({ ...health, refetchInterval: 5_000 });
  const { data, error } = useQuery({ ...metrics, refetchInterval: 5_000 });
  const samples = useMemo(() => (data ? parseMetrics(data) : undefined), [data]);
  if (error) return <ErrorNote error={error} />;
  if (!samples) return <Waiting lines={5} />;
  const requests = samples.filter((sample) => sample.name === "cairn_http_requests_total");
  const failed = requests.filter((sample) => sample.labels.status?.startsWith("5"));
  const seconds = (value: number | undefined) => (value === undefined ? "–" : `${value.toFixed(2)} s`);
  const tokens = (type: string) =>
    count(total(samples, "gen_ai_client_token_usage", { gen_ai_token_type: type }));
  return (
    <div className="stack">
      <div className="row">
        <Badge tone={ready.data?.ready ? "good" : "bad"} dot>
          {ready.data ? ready.data.text : "unknown"}
        </Badge>
        <span className="quiet small">since the gateway was started</span>
      </div>
      <dl className="figures figures-4 card">
        <Figure label="Requests" value={count(sum(requests))}>
          {count(sum(failed))} failed
        </Figure>
        <Figure label="Tokens read" value={tokens("input")}>
          {tokens("output")} written
        </Figure>
        <Figure label="First token" value={seconds(mean(samples, "gen_ai_server_time_to_first_token"))}>
          on average
        </Figure>
        <Figure label="Whole answer" value={seconds(mean(samples, "gen_ai_server_request_duration"))}>
          retrieval {seconds(mean(samples, "cairn_retrieval_seconds"))}
        </Figure>
      </dl>
      <Routes samples={requests} />
    </div>
  );
}

const sum = (samples: { value: number }[]) => samples.reduce((all, { value }) => all + value, 0);

function Figure({ label, value, children }: { label: string; value: string; children: ReactNode }) {
  return (
    <div className="figure">
      <dt>{label}</dt>
      <dd className="figure-value numbers">{value}</dd>
      <dd className="figure-more numbers">{children}</dd>
    </div>
  );
}

function Routes({ samples }: { samples: { labels: Record<string, string>; value: number }[] }) {
  const rows = new Map<string, { all: number; bad: number }>();
  for (const { labels, value } of samples) {
    const row = rows.get(labels.route ?? "") ?? { all: 0, bad: 0 };
    row.all += value;
    if (!labels.status?.startsWith("2") && !labels.status?.startsWith("3")) row.bad += value;
    rows.set(labels.route ?? "", row);
  }
  const sorted = [...rows].sort(([, a], [, b]) => b.all - a.all).slice(0, 20);
  return (
    <TableCard label="Requests by route">
      <table className="table">
        <TableHead columns={["Route", { number: "Requests" }, { number: "Refused or failed" }]} />
        <tbody>
          {sorted.map(([route, { all, bad }]) => (
            <tr key={route}>
              <td className="mono">{route}</td>
              <td className="number">{count(all)}</td>
              <td className="number">{bad > 0 ? count(bad) : <span className="quiet">0</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableCard>
  );
}
