// One adapter's name: what it means now, what it meant before, who may use it, and a trial of another generation.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ChevronRight, MessageSquareText, Undo2 } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { adapterHistory } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button, ButtonLink } from "../../ui/button";
import { Confirm } from "../../ui/dialog";
import { Badge, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Segments, SelectField, Slider, TextField } from "../../ui/field";
import { Page } from "../../ui/page";
import { Ago, Hash } from "../../ui/text";
import "./adapters.css";
import "../datanets/datanets.css";

type Alias = Schemas["AdapterAlias"];

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
  const history = useQuery(adapterHistory(base, name));
  const [removing, setRemoving] = useState(false);
  const [deleting, setDeleting] = useState<string | null>(null);
  const refresh = () => client.invalidateQueries({ queryKey: ["adapters"] });
  const change = useMutation({
    mutationFn: async (to: Schemas["AliasChange"]) =>
      body(await api.PUT("/v1/adapters/{base}/{name}", { params: { path: { base, name } }, body: to })),
    onSuccess: refresh,
  });
  if (!data) {
    return <Page title={name}>{error ? <ErrorNote error={error} /> : <Waiting lines={4} />}</Page>;
  }
  const governs =
    caller?.roles.includes("admin") || (caller?.may("trainers") && caller.subject === data.owner);
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
          {governs && (
            <Button disabled={change.isPending} onClick={() => change.mutate({ rollback: true })}>
              <Undo2 size={16} aria-hidden />
              Roll back
            </Button>
          )}
        </>
      }
    >
      <div className="stack">
        <ErrorNote error={change.error ?? history.error} />
        <section className="card card-pad">
          <dl className="facts">
            <dt>Means now</dt>
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
        {governs && (
          <div className="adapter-governing">
            <CanaryCard
              key={`${data.generation}/${data.canary?.generation}/${data.canary?.percent}`}
              alias={data}
              history={history.data ?? []}
              busy={change.isPending}
              onChange={(canary) => change.mutate({ canary })}
            />
            <Sharing alias={data} onChange={(visibility) => change.mutate({ visibility })} />
          </div>
        )}
        <History
          steps={history.data}
          current={data.generation}
          onPublish={governs ? (generation) => change.mutate({ generation }) : undefined}
          onDelete={governs ? setDeleting : undefined}
          kept={data.canary?.generation}
          busy={change.isPending}
        />
        {governs && (
          <div className="card card-pad row row-wrap">
            <div>
              <h2>Take the name back</h2>
              <p className="quiet">Requests for {name} are refused from then on. The generations stay.</p>
            </div>
            <Button look="danger" className="push" onClick={() => setRemoving(true)}>
              Unpublish
            </Button>
          </div>
        )}
      </div>
      <Confirm
        open={deleting !== null}
        onClose={() => setDeleting(null)}
        title="Delete this generation?"
        action="Delete for ever"
        onConfirm={async () => {
          const path = { base, generation: deleting ?? "" };
          await api.DELETE("/v1/adapters/{base}/generations/{generation}", { params: { path } });
          await refresh();
        }}
      >
        Its weights go; requests that began with it finish with it. What names it in the log, and the proofs
        of its answers, stay. It cannot be published again unless it is uploaded again.
      </Confirm>
      <Confirm
        open={removing}
        onClose={() => setRemoving(false)}
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

/** A part of the traffic for another generation, to see how it does. */
function CanaryCard({
  alias,
  history,
  busy,
  onChange,
}: {
  alias: Alias;
  history: Schemas["AliasStep"][];
  busy: boolean;
  onChange: (canary: Schemas["Canary"]) => void;
}) {
  const others = [...new Set(history.map((step) => step.generation))].filter(
    (one) => one !== alias.generation,
  );
  const on = alias.canary?.generation;
  if (on && !others.includes(on)) others.unshift(on);
  const [generation, setGeneration] = useState(on ?? others[0] ?? "");
  const [percent, setPercent] = useState(alias.canary?.percent ?? 10);
  return (
    <section className="card card-pad stack" aria-label="Canary">
      <div>
        <h2>Canary</h2>
        <p className="quiet">Gives part of the requests to another generation.</p>
      </div>
      {others.length === 0 ? (
        <Note>
          There is no other generation of this name yet. Upload a new one under the same name first.
        </Note>
      ) : (
        <>
          <SelectField
            label="Generation"
            value={generation}
            onChange={(event) => setGeneration(event.target.value)}
          >
            {others.map((one) => (
              <option key={one} value={one}>
                {one.slice(0, 16)}
              </option>
            ))}
          </SelectField>
          <Slider
            label="Part of the requests"
            value={percent}
            shown={`${percent}%`}
            min={1}
            max={99}
            step={1}
            onChange={setPercent}
          />
          <div className="row">
            <Button
              look="primary"
              disabled={busy || !generation}
              onClick={() => onChange({ generation, percent })}
            >
              {alias.canary ? "Change the trial" : "Start the trial"}
            </Button>
            {alias.canary && (
              <Button disabled={busy} onClick={() => onChange({ generation, percent: 0 })}>
                End it
              </Button>
            )}
          </div>
        </>
      )}
    </section>
  );
}

function Sharing({ alias, onChange }: { alias: Alias; onChange: (visibility: Alias["visibility"]) => void }) {
  const { base, name } = alias;
  const [subject, setSubject] = useState("");
  const [said, setSaid] = useState<string | null>(null);
  const grant = useMutation({
    mutationFn: async (allow: boolean) => {
      const to = subject.trim();
      const params = { params: { path: { base, name, subject: to } } };
      if (allow) await api.PUT("/v1/adapters/{base}/{name}/grants/{subject}", params);
      else await api.DELETE("/v1/adapters/{base}/{name}/grants/{subject}", params);
      return allow ? `${to} may use it now.` : `${to} may no longer use it.`;
    },
    onMutate: () => setSaid(null),
    onSuccess: (text) => {
      setSaid(text);
      setSubject("");
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    grant.mutate(true);
  };
  return (
    <section className="card card-pad stack" aria-label="Sharing">
      <div>
        <h2>Sharing</h2>
        <p className="quiet">Who may name it in a request.</p>
      </div>
      <Segments
        label="Who may use it"
        value={alias.visibility}
        onChange={onChange}
        options={[
          ["private", "Its owner"],
          ["granted", "Those granted"],
          ["public", "Everyone"],
        ]}
      />
      {alias.visibility === "granted" && (
        <form className="stack-s" onSubmit={submit}>
          <TextField
            label="Subject"
            placeholder="my-app"
            hint="The subject of an API key, or of a token."
            value={subject}
            onChange={(event) => setSubject(event.target.value)}
          />
          <div className="row">
            <Button type="submit" disabled={!subject.trim() || grant.isPending}>
              Grant
            </Button>
            <Button
              look="danger"
              disabled={!subject.trim() || grant.isPending}
              onClick={() => grant.mutate(false)}
            >
              Revoke
            </Button>
          </div>
          <div role="status">{said && <Note tone="good">{said}</Note>}</div>
          <ErrorNote error={grant.error} />
        </form>
      )}
    </section>
  );
}

function History({
  steps,
  current,
  onPublish,
  onDelete,
  kept,
  busy,
}: {
  steps: Schemas["AliasStep"][] | undefined;
  current: string;
  onPublish: ((generation: string) => void) | undefined;
  onDelete: ((generation: string) => void) | undefined;
  /** The one on trial, which cannot be deleted. */
  kept: string | undefined;
  busy: boolean;
}) {
  return (
    <section className="card" aria-label="History">
      <div className="card-head">
        <h2>History</h2>
        <span className="quiet small">Every step is an entry of the transparency log.</span>
      </div>
      {!steps && (
        <div className="card-pad">
          <Waiting />
        </div>
      )}
      {steps && (
        <div className="table-scroll">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Generation</th>
                <th scope="col">Step</th>
                <th scope="col">By</th>
                <th scope="col">When</th>
                <th scope="col">
                  <span className="hidden-visually">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {steps.map((step) => (
                <tr key={`${step.at}${step.generation}${step.action}`}>
                  <td>
                    <Hash value={step.generation} label="generation" />
                  </td>
                  <td>
                    {step.action} {step.generation === current && <Badge tone="good">now</Badge>}
                  </td>
                  <td>{step.actor}</td>
                  <td className="quiet">
                    <Ago at={step.at} />
                  </td>
                  <td className="number">
                    {onPublish && step.generation !== current && (
                      <Button small disabled={busy} onClick={() => onPublish(step.generation)}>
                        Publish again
                      </Button>
                    )}
                    {onDelete && step.generation !== current && step.generation !== kept && (
                      <Button
                        small
                        look="quiet"
                        disabled={busy}
                        aria-label={`Delete ${step.generation.slice(0, 8)}`}
                        onClick={() => onDelete(step.generation)}
                      >
                        Delete…
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
