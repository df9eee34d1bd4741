// The states that a datanet went through; each is an entry of the transparency log.
import { useQuery } from "@tanstack/react-query";
import { snapshotsOf } from "../../api/queries";
import { TableCard } from "../../ui/scroll";
import { Ago, count, Hash } from "../../ui/text";

export function Snapshots({ name }: { name: string }) {
  const { data } = useQuery(snapshotsOf(name));
  if (!data || data.length === 0) return null;
  return (
    <section className="stack-s" aria-labelledby="versions">
      <h2 id="versions">Versions</h2>
      <TableCard label="Versions">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col" className="number">
                Datapoints
              </th>
              <th scope="col">Root</th>
              <th scope="col" className="number">
                Log entry
              </th>
              <th scope="col">When</th>
            </tr>
          </thead>
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
              </tr>
            ))}
          </tbody>
        </table>
      </TableCard>
    </section>
  );
}
