// Whose datapoints a datanet holds: how many, how often answers drew on them, and the way to each one's ledger.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { count } from "../../ui/text";

/** As many as one request gives. */
const PAGE = 200;
/** So many are read without being asked to. */
const AT_ONCE = 2_000;

export function Contributors({ datanet }: { datanet: Schemas["Datanet"] }) {
  const { name, snapshot } = datanet;
  const [most, setMost] = useState(AT_ONCE);
  const held = useQuery({
    queryKey: ["datanets", name, "contributors", snapshot.root, most],
    queryFn: ({ signal }) => counted(name, Math.min(most, snapshot.size), signal),
    staleTime: Number.POSITIVE_INFINITY,
    enabled: snapshot.size > 0,
  });
  const used = useQuery({
    queryKey: ["ledger", { datanet: name }],
    queryFn: async () => body(await api.GET("/v1/ledger", { params: { query: { datanet: name } } })),
  });
  if (snapshot.size === 0) return null;
  const answers = new Map<string, number>();
  for (const total of used.data?.totals ?? []) {
    answers.set(total.contributor, (answers.get(total.contributor) ?? 0) + total.answers);
  }
  const rows = [...(held.data ?? new Map<string, number>())].sort((one, other) => other[1] - one[1]);
  return (
    <section className="stack-s" aria-labelledby="contributors">
      <h2 id="contributors">Contributors</h2>
      <ErrorNote error={held.error ?? used.error} />
      {held.isPending && <Waiting lines={3} />}
      {rows.length > 0 && (
        <TableCard label="Contributors">
          <table className="table">
            <TableHead
              columns={[
                "Contributor",
                { number: "Datapoints" },
                { number: "Answers that drew on them" },
                { hidden: "Ledger" },
              ]}
            />
            <tbody>
              {rows.map(([contributor, number]) => (
                <tr key={contributor}>
                  <td className="strong">{contributor}</td>
                  <td className="number">{count(number)}</td>
                  <td className="number">{used.data ? count(answers.get(contributor) ?? 0) : "…"}</td>
                  <td className="number">
                    <Link to="/audit" search={{ tab: "uses", contributor, datanet: name }}>
                      Every use
                      <span className="hidden-visually"> of what {contributor} contributed</span>
                    </Link>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableCard>
      )}
      {held.data && most < snapshot.size && (
        <Note>
          <div className="row row-wrap">
            <span>
              Counted over the first {count(most)} of {count(snapshot.size)} datapoints.
            </span>
            <Button small onClick={() => setMost(snapshot.size)}>
              Count all
            </Button>
          </div>
        </Note>
      )}
    </section>
  );
}

/** How many of the first datapoints each contributed. */
async function counted(name: string, most: number, signal: AbortSignal): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (let after = 0; after < most; after += PAGE) {
    const query = { after, limit: Math.min(PAGE, most - after) };
    const params = { path: { name }, query };
    const page = body(await api.GET("/v1/datanets/{name}/datapoints", { params, signal })).data;
    for (const { contributor } of page) found.set(contributor, (found.get(contributor) ?? 0) + 1);
  }
  return found;
}
