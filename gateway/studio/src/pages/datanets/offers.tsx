// Contributions by others than the owner: what is in them, and the owner's word.
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { contributionsTo } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button } from "../../ui/button";
import { Badge, ErrorNote } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { More } from "../../ui/more";
import { Ago, plural } from "../../ui/text";

type Contribution = Schemas["Contribution"];

/** What an examination of a file says, as the gateway writes it. */
interface Examined {
  new: number;
  duplicates: number;
  first?: { id: string; text: string; contributor: string; licence: string }[];
}

const TONES = {
  waiting: "warn",
  ingesting: "plain",
  accepted: "good",
  rejected: "bad",
  withdrawn: "plain",
  failed: "bad",
} as const;

export function Offers({ name, governs }: { name: string; governs: boolean }) {
  const list = useInfiniteQuery({
    ...contributionsTo(name),
    refetchInterval: ({ state }) =>
      state.data?.pages.some((page) => page.data.some((one) => one.state === "ingesting")) ? 1500 : 15_000,
  });
  const { data, error } = list;
  if (error) return <ErrorNote error={error} />;
  if (!data || data.length === 0) return null;
  return (
    <section className="stack" aria-labelledby="offers">
      <h2 id="offers">{governs ? "Contributions" : "Your contributions"}</h2>
      {data.map((one) => (
        <Offer key={one.id} offer={one} governs={governs} />
      ))}
      <More list={list} of="contributions" />
    </section>
  );
}

export function Offer({
  offer,
  governs,
  named,
}: {
  offer: Contribution;
  governs: boolean;
  /** Say which datanet it is for. */
  named?: boolean;
}) {
  const caller = useCaller();
  const examined = offer.report as unknown as Examined | null;
  const { reputation } = offer;
  const own = caller?.subject === offer.subject;
  return (
    <article
      className="card card-pad stack-s"
      aria-label={`Contribution ${offer.filename} of ${offer.subject}`}
    >
      <div className="row row-wrap">
        <h3>
          {offer.filename}
          {named && (
            <>
              {" "}
              for{" "}
              <Link
                to="/datanets/$name"
                params={{ name: offer.datanet }}
                search={{ tab: "add" }}
                className="table-link"
              >
                {offer.datanet}
              </Link>
            </>
          )}
        </h3>
        <Badge tone={TONES[offer.state]}>{offer.state}</Badge>
        <span className="quiet small push">
          {offer.subject}, <Ago at={offer.created_at} />
        </span>
      </div>
      <p className="quiet">
        {examined && `${plural(examined.new, "new datapoint")}, ${examined.duplicates} there already.`}
        {!own &&
          ` ${offer.subject} has ${plural(reputation.accepted, "accepted contribution")} and ${reputation.rejected} rejected${
            reputation.mean_score != null ? `, mean score ${Math.round(reputation.mean_score)}` : ""
          }; ${plural(reputation.answers, "answer")} drew on their data.`}
        {offer.supersedes ? " It is a new version of an earlier one." : ""}
      </p>
      {offer.note && <blockquote className="quiet">{offer.note}</blockquote>}
      {examined?.first && examined.first.length > 0 && (
        <details>
          <summary>How it begins</summary>
          {examined.first.map((one) => (
            <div key={one.id} className="datapoint">
              <span className="mono small quiet">{one.id}</span>
              <p className="datapoint-text">{one.text}</p>
            </div>
          ))}
        </details>
      )}
      {offer.reason && <p>{offer.reason}</p>}
      {offer.state === "waiting" && governs && <Review id={offer.id} name={offer.datanet} />}
      {offer.state === "waiting" && own && <TakeBack id={offer.id} name={offer.datanet} />}
    </article>
  );
}

/** Whoever sent it takes it back, until it is decided. */
function TakeBack({ id, name }: { id: string; name: string }) {
  const client = useQueryClient();
  const withdraw = useMutation({
    mutationFn: async () => {
      await api.DELETE("/v1/contributions/{id}", { params: { path: { id } } });
    },
    onSuccess: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: ["contributions", name] }),
        client.invalidateQueries({ queryKey: ["contributions", "", "mine"] }),
      ]),
  });
  return (
    <>
      <ErrorNote error={withdraw.error} />
      <div className="row">
        <Button small disabled={withdraw.isPending} onClick={() => withdraw.mutate()}>
          Take it back
        </Button>
      </div>
    </>
  );
}

function Review({ id, name }: { id: string; name: string }) {
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const [score, setScore] = useState("");
  const review = useMutation({
    mutationFn: async (accept: boolean) =>
      body(
        await api.POST("/v1/contributions/{id}/review", {
          params: { path: { id } },
          body: { accept, reason: reason.trim(), ...(score ? { score: Number(score) } : {}) },
        }),
      ),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["contributions", name] });
      await client.invalidateQueries({ queryKey: ["datanets", name] });
    },
  });
  return (
    <div className="stack-s">
      <div className="review-fields">
        <TextField
          label="Reason"
          hint="The contributor reads it. A no needs one."
          value={reason}
          onChange={(event) => setReason(event.target.value)}
        />
        <TextField
          label="Score"
          type="number"
          min={0}
          max={100}
          hint="0 to 100, if you like."
          value={score}
          onChange={(event) => setScore(event.target.value)}
        />
      </div>
      <ErrorNote error={review.error} />
      <div className="row">
        <Button look="primary" disabled={review.isPending} onClick={() => review.mutate(true)}>
          Accept
        </Button>
        <Button
          look="danger"
          disabled={review.isPending || !reason.trim()}
          onClick={() => review.mutate(false)}
        >
          Reject
        </Button>
      </div>
    </div>
  );
}
