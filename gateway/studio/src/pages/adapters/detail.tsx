// One adapter's name: which generation it means, what it meant before, who may use it and who does, and a trial of another.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ChevronRight, MessageSquareText, Undo2 } from "lucide-react";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { adapterHistory, generations } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button, ButtonLink } from "../../ui/button";
import { Confirm } from "../../ui/dialog";
import { ErrorNote, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { Ago, Hash } from "../../ui/text";
import { CanaryCard } from "./canary";
import { InUse, Users } from "./generation";
import { History } from "./history";
import { Sharing } from "./sharing";
import "./adapters.css";
import "../datanets/datanets.css";

/** What is asked about before it is done. */
type Asked = { what: "rollback" | "unpublish" } | { what: "delete"; generation: string } | null;

export function AdapterPage() {
  const { base, name } = useParams({ from: "/adapters/$base/$name" });
  const navigate = useNavigate();
  const client = useQueryClient();
  const caller = useCaller();
  const { data, error } = useQuery({
    queryKey: ["adapters", base, name],
    queryFn: async () =>
      body(await api.GET("/v1/adapters/{base}/{name}", { params: { path: { base, name } } })),
  });
  const governs =
    caller?.roles.includes("admin") || (caller?.may("trainers") && caller.subject === data?.owner);
  const history = useQuery(adapterHistory(base, name));
  const stored = useQuery({
    ...generations(base, data?.owner),
    enabled: Boolean(governs && data),
  });
  const [asked, setAsked] = useState<Asked>(null);
  const close = () => setAsked(null);
  const refresh = () => client.invalidateQueries({ queryKey: ["adapters"] });
  const put = async (to: Schemas["AliasChange"]) =>
    body(await api.PUT("/v1/adapters/{base}/{name}", { params: { path: { base, name } }, body: to }));
  const change = useMutation({ mutationFn: put, onSuccess: refresh });
  if (!data) {
    return <Page title={name}>{error ? <ErrorNote error={error} /> : <Waiting lines={4} />}</Page>;
  }
  const earlier = history.data?.earlier;
  const current = stored.data?.find(({ generation }) => generation === data.generation);
  return (
    <Page
      title={name}
      lead={
        <>
          On {base} · owned by {data.owner} · changed <Ago at={data.updated_at} />
        </>
      }
      above={
        <nav aria-label="Where you are" className="crumbs">
          <Link to="/adapters">Adapters</Link>
          <ChevronRight size={14} aria-hidden />
        </nav>
      }
      actions={
        <>
          <ButtonLink to="/chat" search={{ model: `${base}:${name}` }}>
            <MessageSquareText size={16} aria-hidden />
            Chat with it
          </ButtonLink>
          {governs && earlier && (
            <Button disabled={change.isPending} onClick={() => setAsked({ what: "rollback" })}>
              <Undo2 size={16} aria-hidden />
              Roll back…
            </Button>
          )}
        </>
      }
    >
      <div className="stack">
        <ErrorNote error={change.error ?? history.error ?? stored.error} />
        <section className="card card-pad">
          <dl className="facts">
            <dt>In use</dt>
            <dd>
              <Hash value={data.generation} label="generation" digits={20} />
            </dd>
            <dt>On trial</dt>
            <dd>
              {data.canary ? (
                <>
                  <Hash value={data.canary.generation} label="generation on trial" digits={20} /> takes{" "}
                  {data.canary.percent}% of requests
                </>
              ) : (
                <span className="quiet">nothing</span>
              )}
            </dd>
            <dt>Requests name it</dt>
            <dd className="mono">
              {base}:{name}
            </dd>
          </dl>
        </section>
        {current && <InUse generation={current} />}
        {governs && (
          <div className="adapter-governing">
            {stored.data && (
              <CanaryCard
                key={`${data.generation}/${data.canary?.generation}/${data.canary?.percent}/${stored.data.length}`}
                alias={data}
                generations={stored.data}
                busy={change.isPending}
                onChange={(canary) => change.mutate({ canary })}
              />
            )}
            <Sharing alias={data} onChange={(visibility) => change.mutate({ visibility })} />
          </div>
        )}
        {governs && <Users base={base} name={name} current={data.generation} />}
        <History
          steps={history.data?.data}
          current={data.generation}
          onPublish={governs ? (generation) => change.mutate({ generation }) : undefined}
          onDelete={governs ? (generation) => setAsked({ what: "delete", generation }) : undefined}
          kept={data.canary?.generation}
          stored={stored.data?.map(({ generation }) => generation)}
          busy={change.isPending}
        />
        {governs && (
          <div className="card card-pad row row-wrap">
            <div>
              <h2>Remove the name</h2>
              <p className="quiet">
                Requests for {name} are refused from then on. The generations stay, kept without a name.
              </p>
            </div>
            <Button look="danger" className="push" onClick={() => setAsked({ what: "unpublish" })}>
              Unpublish…
            </Button>
          </div>
        )}
      </div>
      <Confirm
        open={asked?.what === "rollback"}
        onClose={close}
        title={`Roll ${name} back?`}
        action="Roll back"
        onConfirm={async () => {
          await put({ rollback: true });
          await refresh();
        }}
      >
        New requests for {base}:{name} are answered by generation{" "}
        <span className="mono">{earlier?.slice(0, 12)}</span> again, the one before. Requests under way finish
        with what they began with{data.canary && ", and the trial ends"}.
      </Confirm>
      <Confirm
        open={asked?.what === "delete"}
        onClose={close}
        title="Delete this generation?"
        action="Delete for ever"
        onConfirm={async () => {
          const path = { base, generation: asked?.what === "delete" ? asked.generation : "" };
          await api.DELETE("/v1/adapters/{base}/generations/{generation}", { params: { path } });
          await refresh();
        }}
      >
        Its weights go; requests that began with it finish with it. What names it in the log, and the proofs
        of its answers, stay. It cannot be published again unless it is uploaded again.
      </Confirm>
      <Confirm
        open={asked?.what === "unpublish"}
        onClose={close}
        title={`Unpublish ${name}?`}
        action="Unpublish"
        onConfirm={async () => {
          await api.DELETE("/v1/adapters/{base}/{name}", { params: { path: { base, name } } });
          await refresh();
          navigate({ to: "/adapters" });
        }}
      >
        Requests under way finish. New ones for {base}:{name} are answered with an error.
      </Confirm>
    </Page>
  );
}
