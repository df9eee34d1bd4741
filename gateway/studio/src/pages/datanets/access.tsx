// Who may retrieve from a datanet, and train on it: grants, given and taken back; and the adapters that were trained.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { grants, trainedOn } from "../../api/queries";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/dialog";
import { Empty, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { SelectField, TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, date, Hash, plural } from "../../ui/text";
import { Requests } from "./requests";

export function Access({ datanet }: { datanet: Schemas["Datanet"] }) {
  const { name } = datanet;
  const client = useQueryClient();
  const { data, error } = useQuery(grants(name));
  const [subject, setSubject] = useState("");
  const [training, setTraining] = useState(false);
  const [limits, setLimits] = useState(NO_LIMITS);
  const [revoking, setRevoking] = useState<string | null>(null);
  const [reason, setReason] = useState("");
  const refresh = () => client.invalidateQueries({ queryKey: ["datanets", name, "grants"] });
  const grant = useMutation({
    mutationFn: async (to: string) =>
      body(
        await api.PUT("/v1/datanets/{name}/grants/{subject}", {
          params: { path: { name, subject: to }, query: { training, ...said(limits) } },
        }),
      ),
    onSuccess: () => {
      setSubject("");
      setLimits(NO_LIMITS);
      return refresh();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    grant.mutate(subject.trim());
  };
  return (
    <div className="stack">
      {datanet.visibility === "public" && (
        <Note>
          This datanet is public: everyone with a key may retrieve from it, with or without a grant.
        </Note>
      )}
      <form className="card card-pad grant-form" onSubmit={submit}>
        <TextField
          label="Let someone retrieve"
          placeholder="my-app, or someone@example.org"
          hint="The subject of an API key, or of a token."
          value={subject}
          onChange={(event) => setSubject(event.target.value)}
        />
        <SelectField
          label="For"
          hint="Training is another purpose than retrieval."
          value={training ? "training" : "retrieval"}
          onChange={(event) => setTraining(event.target.value === "training")}
        >
          <option value="retrieval">retrieving</option>
          <option value="training">retrieving, and training on it</option>
        </SelectField>
        <Button type="submit" look="primary" disabled={!subject.trim() || grant.isPending}>
          Grant
        </Button>
        <Limited limits={limits} onChange={setLimits} />
      </form>
      <ErrorNote error={grant.error ?? error} />
      {!data && !error && <Waiting />}
      <Requests name={name} />
      {data && (
        <TableCard label="Grants">
          {data.length === 0 ? (
            <Empty title="Nobody holds a grant">
              For all but its owner, a private datanet does not exist.
            </Empty>
          ) : (
            <table className="table">
              <TableHead
                columns={["Who", "May", "Rows", "Granted by", "When", "Until", { hidden: "Actions" }]}
              />
              <tbody>
                {data.map((one) => (
                  <tr key={one.id}>
                    <td className="strong">{one.subject}</td>
                    <td>{one.purposes.join(", ")}</td>
                    <td>
                      {one.rows ? <code>{one.rows}</code> : "all"}
                      {one.retrievals_per_day != null && (
                        <div className="quiet small">
                          {plural(one.retrievals_per_day, "retrieval")} a day at most
                        </div>
                      )}
                    </td>
                    <td>
                      {one.granted_by === "policy"
                        ? `the terms, version ${one.terms_version}`
                        : one.granted_by}
                    </td>
                    <td className="quiet">
                      <Ago at={one.granted_at} />
                    </td>
                    <td className="quiet">
                      {one.revoked_at
                        ? `ended ${date(one.revoked_at)}${one.revocation_reason ? `: ${one.revocation_reason}` : ""}`
                        : one.expires_at
                          ? date(one.expires_at)
                          : "no end"}
                    </td>
                    <td className="number">
                      {one.in_force && (
                        <Button small look="danger" onClick={() => setRevoking(one.subject)}>
                          Revoke
                        </Button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </TableCard>
      )}
      <TrainedOn name={name} />
      <Confirm
        open={revoking !== null}
        onClose={() => {
          setRevoking(null);
          setReason("");
        }}
        title={`Take the grant of ${revoking} back?`}
        action="Revoke"
        onConfirm={async () => {
          const path = { name, subject: revoking ?? "" };
          const query = reason.trim() ? { reason: reason.trim() } : {};
          await api.DELETE("/v1/datanets/{name}/grants/{subject}", { params: { path, query } });
          await refresh();
        }}
      >
        <div className="stack">
          <p>
            From the next request on, {revoking} can read nothing of {name}.
          </p>
          <TextField
            label="Reason"
            hint={`${revoking} reads it. It need not be given.`}
            value={reason}
            onChange={(event) => setReason(event.target.value)}
          />
        </div>
      </Confirm>
    </div>
  );
}

interface Limits {
  rows: string;
  days: string;
  quota: string;
}

const NO_LIMITS: Limits = { rows: "", days: "", quota: "" };

function said({ rows, days, quota }: Limits) {
  return {
    ...(rows.trim() ? { rows: rows.trim() } : {}),
    ...(days ? { days: Number(days) } : {}),
    ...(quota ? { retrievals_per_day: Number(quota) } : {}),
  };
}

/** Some rows, some days, so many a day: folded, for most grants have no limits. */
function Limited({ limits, onChange }: { limits: Limits; onChange: (next: Limits) => void }) {
  return (
    <details className="grant-limits">
      <summary>Limit it: some rows, some days, so many a day</summary>
      <div className="fields details-body">
        <TextField
          label="Only these rows"
          placeholder={'metadata.topic = "storage"'}
          hint="A filter over metadata, licence, contributor, date or source."
          value={limits.rows}
          onChange={(event) => onChange({ ...limits, rows: event.target.value })}
        />
        <TextField
          label="For how many days"
          type="number"
          min={1}
          placeholder="without an end"
          value={limits.days}
          onChange={(event) => onChange({ ...limits, days: event.target.value })}
        />
        <TextField
          label="Retrievals a day"
          type="number"
          min={1}
          placeholder="as many as wanted"
          value={limits.quota}
          onChange={(event) => onChange({ ...limits, quota: event.target.value })}
        />
      </div>
    </details>
  );
}

/** What was learnt stays learnt: a grant that is taken back does not undo these. */
function TrainedOn({ name }: { name: string }) {
  const { data, error } = useQuery(trainedOn(name));
  if (error) return <ErrorNote error={error} />;
  if (!data || data.length === 0) return null;
  return (
    <section className="stack" aria-labelledby="trained-on">
      <h2 id="trained-on">Adapters trained on it</h2>
      <TableCard label="Adapters trained on it">
        <table className="table">
          <TableHead
            columns={["Adapter", "Generation", "Whose", { number: "Learnt" }, { number: "Held out" }, "When"]}
          />
          <tbody>
            {data.map((one) => (
              <tr key={one.job}>
                <td className="strong">
                  {one.base}:{one.alias}
                </td>
                <td>{one.generation ? <Hash value={one.generation} label="generation" /> : "not yet"}</td>
                <td>{one.owner}</td>
                <td className="number">{one.learnt}</td>
                <td className="number">{one.held_out}</td>
                <td className="quiet">{one.finished_at && <Ago at={one.finished_at} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableCard>
    </section>
  );
}
