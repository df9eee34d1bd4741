// Requests for a datanet, as its owner sees them: what waits, what was decided, and how fast.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { accessStatistics, requestsFor } from "../../api/queries";
import { ErrorNote } from "../../ui/feedback";
import { More } from "../../ui/more";
import { plural } from "../../ui/text";
import { RequestCard } from "./request-card";

export function Requests({ name }: { name: string }) {
  const list = useInfiniteQuery(requestsFor(name));
  const { data, error } = list;
  const { data: statistics } = useQuery(accessStatistics(name));
  if (error) return <ErrorNote error={error} />;
  if (!data || data.length === 0) return null;
  const waiting = data.filter((one) => one.status === "waiting");
  const decided = data.filter((one) => one.status !== "waiting");
  return (
    <section className="stack" aria-labelledby="requests">
      <h2 id="requests">Requests</h2>
      {statistics && (
        <p className="quiet">
          {plural(statistics.requests, "request")}: {statistics.granted} granted, {statistics.denied} denied,{" "}
          {statistics.waiting} waiting.
          {statistics.automatic != null &&
            ` ${Math.round(100 * statistics.automatic)}% were decided by the terms alone; the median took ${seconds(
              statistics.median_seconds,
            )}, 95% at most ${seconds(statistics.p95_seconds)}.`}
        </p>
      )}
      {waiting.map((one) => (
        <RequestCard key={one.id} request={one} />
      ))}
      {decided.length > 0 && (
        <details>
          <summary>{plural(decided.length, "decided request")}</summary>
          <div className="stack requests-decided">
            {decided.map((one) => (
              <RequestCard key={one.id} request={one} />
            ))}
          </div>
        </details>
      )}
      <More list={list} of="requests" />
    </section>
  );
}

function seconds(value: number | null | undefined): string {
  if (value == null) return "–";
  if (value < 90) return `${value.toFixed(1)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}
