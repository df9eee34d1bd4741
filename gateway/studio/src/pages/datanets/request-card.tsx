// A request for access: what each clause of the terms says to it, what people said, and for reviewers the decision.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Check, CircleHelp, X } from "lucide-react";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { useCaller } from "../../api/roles";
import { Button } from "../../ui/button";
import { Badge, ErrorNote } from "../../ui/feedback";
import { TextArea, TextField } from "../../ui/field";
import { Ago, moment } from "../../ui/text";
import { AS_ACTOR } from "./words";

type Request = Schemas["AccessRequest"];

const ACCESS: Record<Schemas["AccessBasis"], string> = {
  owner: "yours",
  grant: "granted",
  public: "public",
  administrator: "as administrator",
  on_request: "ask for it",
};

export function AccessBadge({ access = "on_request" }: { access?: Schemas["AccessBasis"] | undefined }) {
  return (
    <Badge tone={access === "on_request" ? "warn" : access === "grant" ? "good" : "plain"}>
      {ACCESS[access]}
    </Badge>
  );
}

const TONES = { waiting: "warn", granted: "good", denied: "bad", withdrawn: "plain" } as const;

export function RequestCard({ request, named }: { request: Request; named?: boolean }) {
  const caller = useCaller();
  const decides = caller !== undefined && request.reviewers.includes(caller.subject);
  const own = caller?.subject === request.subject;
  const { application } = request;
  return (
    <article className="card card-pad stack-s" aria-label={`Request of ${request.subject}`}>
      <div className="row row-wrap">
        <h3>
          {!(named && own) && request.subject}
          {named && !own && " for "}
          {named && (
            <Link
              to="/datanets/$name"
              params={{ name: request.datanet }}
              search={{ tab: "terms" }}
              className="table-link"
            >
              {request.datanet}
            </Link>
          )}
        </h3>
        <Badge tone={TONES[request.status]}>{request.status}</Badge>
        <span className="quiet small push">
          <Ago at={request.created_at} />
        </span>
      </div>
      <p>
        For {application.purposes.join(" and ")}, as {AS_ACTOR[application.actor]}
        {application.commercial ? ", commercially" : ""}
        {application.region ? `, in ${application.region}` : ""}
        {application.days ? `, for ${application.days} days` : ""}
        {application.rows && (
          <>
            , only rows where <code>{application.rows}</code>
          </>
        )}
        .
      </p>
      {application.statement && <blockquote className="quiet">{application.statement}</blockquote>}
      <Findings findings={request.findings} />
      {request.votes.map((vote) => (
        <p key={vote.reviewer} className="small">
          <strong>{vote.reviewer}</strong>
          {vote.on_behalf_of ? ` for ${vote.on_behalf_of}` : ""} said {vote.approve ? "yes" : "no"}
          {vote.reason ? `: ${vote.reason}` : ""}
        </p>
      ))}
      {request.status === "waiting" && (
        <p className="small quiet">
          {request.reviewers.length === 0
            ? "Nobody is left who may decide; its owner has to name a reviewer in new terms."
            : `To be decided by ${request.reviewers.join(", ")}${
                request.required > 1 ? ` (${request.required} have to agree)` : ""
              }${request.deadline ? `, until ${moment(request.deadline)}` : ""}${
                request.escalated_at ? "; it was passed on" : ""
              }.`}
        </p>
      )}
      {request.status !== "waiting" && request.decided_by && (
        <p className="small quiet">
          Decided by {request.decided_by === "policy" ? "the terms alone" : request.decided_by}
          {request.decided_at ? ` on ${moment(request.decided_at)}` : ""}, version {request.terms_version} of
          the terms.
        </p>
      )}
      {decides && <Decide id={request.id} />}
      {own && <Own request={request} />}
    </article>
  );
}

const SIGNS = {
  allow: { Icon: Check, words: "met" },
  refer: { Icon: CircleHelp, words: "people decide" },
  deny: { Icon: X, words: "not met" },
};

export function Findings({ findings }: { findings: Schemas["Finding"][] }) {
  return (
    <ul className="findings">
      {findings.map(({ clause, answer, reason }) => {
        const { Icon, words } = SIGNS[answer];
        return (
          <li key={clause} className={`finding finding-${answer}`}>
            <Icon size={15} aria-label={words} />
            <span className="strong">{clause}</span>
            <span>{reason}</span>
          </li>
        );
      })}
    </ul>
  );
}

/** All that depends on requests is asked for anew. */
export function useRefresh() {
  const client = useQueryClient();
  return async () => {
    await Promise.all(
      ["requests", "datanets", "me"].map((key) => client.invalidateQueries({ queryKey: [key] })),
    );
  };
}

function Decide({ id }: { id: string }) {
  const refresh = useRefresh();
  const [reason, setReason] = useState("");
  const decide = useMutation({
    mutationFn: async (approve: boolean) =>
      body(
        await api.POST("/v1/access_requests/{id}/votes", {
          params: { path: { id } },
          body: { approve, reason: reason.trim() },
        }),
      ),
    onSuccess: refresh,
  });
  return (
    <div className="stack-s">
      <TextField
        label="Reason"
        hint="The requester reads it. A no needs one."
        value={reason}
        onChange={(event) => setReason(event.target.value)}
      />
      <ErrorNote error={decide.error} />
      <div className="row">
        <Button look="primary" disabled={decide.isPending} onClick={() => decide.mutate(true)}>
          Approve
        </Button>
        <Button
          look="danger"
          disabled={decide.isPending || !reason.trim()}
          onClick={() => decide.mutate(false)}
        >
          Deny
        </Button>
      </div>
    </div>
  );
}

/** The same request to other reviewers, with a statement for them. */
function Appeal({ id, before }: { id: string; before: string }) {
  const refresh = useRefresh();
  const [open, setOpen] = useState(false);
  const [statement, setStatement] = useState(before);
  const appeal = useMutation({
    mutationFn: async () =>
      body(
        await api.POST("/v1/access_requests/{id}/appeal", {
          params: { path: { id } },
          body: { statement: statement.trim() },
        }),
      ),
    onSuccess: refresh,
  });
  if (!open) {
    return (
      <Button small onClick={() => setOpen(true)}>
        Appeal to other reviewers
      </Button>
    );
  }
  return (
    <div className="stack-s">
      <TextArea
        label="What they should know"
        hint="Who denied it does not decide again. It takes the place of your first statement."
        value={statement}
        onChange={(event) => setStatement(event.target.value)}
      />
      <ErrorNote error={appeal.error} />
      <div className="row">
        <Button look="primary" disabled={appeal.isPending} onClick={() => appeal.mutate()}>
          Appeal
        </Button>
        <Button onClick={() => setOpen(false)}>Leave it</Button>
      </div>
    </div>
  );
}

/** What who asked may still do: withdraw, appeal, renew. */
function Own({ request }: { request: Request }) {
  const refresh = useRefresh();
  const path = { id: request.id };
  const act = useMutation({
    mutationFn: async (action: "withdraw" | "renew") => {
      if (action === "withdraw") await api.DELETE("/v1/access_requests/{id}", { params: { path } });
      if (action === "renew") await api.POST("/v1/access_requests/{id}/renew", { params: { path } });
    },
    onSuccess: refresh,
  });
  return (
    <>
      <ErrorNote error={act.error} />
      <div className="row">
        {request.status === "waiting" && (
          <Button small disabled={act.isPending} onClick={() => act.mutate("withdraw")}>
            Withdraw
          </Button>
        )}
        {request.status === "denied" && request.decided_by === "review" && (
          <Appeal id={request.id} before={request.application.statement ?? ""} />
        )}
        {request.status === "granted" && (
          <Button small disabled={act.isPending} onClick={() => act.mutate("renew")}>
            Renew under the terms of today
          </Button>
        )}
      </div>
    </>
  );
}
