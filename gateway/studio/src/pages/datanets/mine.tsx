// What is the caller's own over all datanets: requests with where they stand, grants, contributions, and who votes for them
// while they are away.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { myContributions, myGrants, myRequests } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Badge, Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { More } from "../../ui/more";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { date, Hash, moment, plural } from "../../ui/text";
import { Away } from "./away";
import { Offer } from "./offers";
import { RequestCard } from "./request-card";

export function Mine() {
  const caller = useCaller();
  return (
    <div className="stack-l">
      <Requests />
      <Grants />
      {caller?.may("applications") && <Contributions />}
      <Away />
    </div>
  );
}

function Requests() {
  const list = useInfiniteQuery(myRequests);
  const { data, error } = list;
  return (
    <section className="stack" aria-labelledby="my-requests">
      <h2 id="my-requests">My requests</h2>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={3} />}
      {data?.length === 0 && (
        <div className="card">
          <Empty title="You have asked for nothing yet">
            Datanets that are marked “ask for it” have terms: open one, and ask under Terms.
          </Empty>
        </div>
      )}
      {data?.map((one) => (
        <RequestCard key={one.id} request={one} named />
      ))}
      <More list={list} of="requests" />
    </section>
  );
}

function Grants() {
  const { data, error } = useQuery(myGrants);
  return (
    <section className="stack" aria-labelledby="my-grants">
      <h2 id="my-grants">What I was granted</h2>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={2} />}
      {data && (
        <TableCard label="What I was granted">
          {data.length === 0 ? (
            <Empty title="No grants">What you own or what is public you may use without one.</Empty>
          ) : (
            <table className="table">
              <TableHead columns={["Datanet", "For", "Rows", "From", "Until", "State", "Entry"]} />
              <tbody>
                {data.map((one) => (
                  <tr key={one.id}>
                    <td>
                      <Link to="/datanets/$name" params={{ name: one.datanet }} className="table-link">
                        {one.datanet}
                      </Link>
                    </td>
                    <td>{one.purposes.join(", ")}</td>
                    <td>
                      {one.rows ? <code>{one.rows}</code> : "all"}
                      {one.retrievals_per_day != null && (
                        <div className="quiet small">
                          {plural(one.retrievals_per_day, "retrieval")} a day at most
                        </div>
                      )}
                    </td>
                    <td className="nowrap">
                      {one.granted_by === "policy"
                        ? `the terms, version ${one.terms_version}`
                        : one.granted_by}
                      <div className="quiet small">{date(one.granted_at)}</div>
                    </td>
                    <td className="quiet nowrap">{one.expires_at ? moment(one.expires_at) : "no end"}</td>
                    <td>
                      <Badge tone={one.in_force ? "good" : "plain"}>
                        {one.in_force ? "in force" : one.revoked_at ? "taken back" : "over"}
                      </Badge>
                      {one.revocation_reason && <div className="quiet small">{one.revocation_reason}</div>}
                    </td>
                    <td>{one.leaf && <Hash value={one.leaf} label="hash of the grant" digits={8} />}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </TableCard>
      )}
    </section>
  );
}

function Contributions() {
  const list = useInfiniteQuery(myContributions);
  const { data, error } = list;
  if (error) return <ErrorNote error={error} />;
  if (!data || data.length === 0) return null;
  return (
    <section className="stack" aria-labelledby="my-contributions">
      <h2 id="my-contributions">What I offered</h2>
      {data.map((one) => (
        <Offer key={one.id} offer={one} governs={false} named />
      ))}
      <More list={list} of="contributions" />
    </section>
  );
}
