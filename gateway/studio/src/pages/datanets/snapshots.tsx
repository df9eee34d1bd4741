// The states that a datanet went through; each is an entry of the transparency log.
import { useMutation, useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { request } from "../../api/client";
import { snapshotsOf } from "../../api/queries";
import { save } from "../../trail/names";
import { Button } from "../../ui/button";
import { ErrorNote, Spinner } from "../../ui/feedback";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, count, Hash } from "../../ui/text";

export function Snapshots({ name }: { name: string }) {
  const { data } = useQuery(snapshotsOf(name));
  if (!data || data.length === 0) return null;
  return (
    <section className="stack-s" aria-labelledby="versions">
      <h2 id="versions">Versions</h2>
      <p className="quiet">
        Each state stays as it was. Its export has every datapoint with the path that proves it to the root.
      </p>
      <TableCard label="Versions">
        <table className="table">
          <TableHead
            columns={[
              "Version",
              { number: "Datapoints" },
              "Root",
              { number: "Log entry" },
              "When",
              { hidden: "Actions" },
            ]}
          />
          <tbody>
            {data.map((one) => (
              <tr key={one.number}>
                <td className="strong">{one.number}</td>
                <td className="number">{count(one.size)}</td>
                <td>
                  <Hash value={one.root} label="root of the version" />
                </td>
                <td className="number">{one.log_index}</td>
                <td className="quiet">
                  <Ago at={one.at} />
                </td>
                <td className="number">
                  <Export name={name} number={one.number} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableCard>
    </section>
  );
}

/** All datapoints of a state, one a line, each with its proof. */
function Export({ name, number }: { name: string; number: number }) {
  const fetched = useMutation({
    mutationFn: async () => {
      const path = `/v1/datanets/${encodeURIComponent(name)}/snapshots/${number}/export`;
      save(await (await request(path)).blob(), `${name}-${number}.jsonl`, "application/jsonl");
    },
  });
  return (
    <>
      <Button
        small
        aria-label={`Export version ${number}`}
        disabled={fetched.isPending}
        onClick={() => fetched.mutate()}
      >
        {fetched.isPending ? <Spinner size={14} /> : <Download size={14} aria-hidden />}
        Export
      </Button>
      <ErrorNote error={fetched.error} />
    </>
  );
}
