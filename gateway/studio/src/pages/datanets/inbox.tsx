// What waits for the caller: requests for access that they may decide, and what others offer to their datanets.
import { useInfiniteQuery, useQueries } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { inbox, undecidedFor } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { ErrorNote } from "../../ui/feedback";
import { More } from "../../ui/more";
import { Offer } from "./offers";
import { RequestCard } from "./request-card";

export function Inbox({ datanets }: { datanets: Schemas["Datanet"][] }) {
  const requests = useInfiniteQuery(inbox);
  const offers = useOffers(datanets);
  const waiting = requests.data ?? [];
  if (requests.error) return <ErrorNote error={requests.error} />;
  if (waiting.length + offers.length === 0) return null;
  return (
    <section className="stack" aria-labelledby="to-decide">
      <h2 id="to-decide">For you to decide</h2>
      {waiting.map((one) => (
        <RequestCard key={one.id} request={one} named />
      ))}
      <More list={requests} of="requests" />
      {offers.map((one) => (
        <Offer key={one.id} offer={one} governs named />
      ))}
    </section>
  );
}

/** Contributions that wait for the owner's word, over all datanets that the caller owns. */
function useOffers(datanets: Schemas["Datanet"][]): Schemas["Contribution"][] {
  const caller = useCaller();
  const own = caller?.may("stewards") ? datanets.filter(({ owner }) => owner === caller.subject) : [];
  const found = useQueries({ queries: own.map(({ name }) => undecidedFor(name)) });
  return found.flatMap(({ data }) => data ?? []);
}
