// API keys: made, listed without their secrets, changed, revoked.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { keys } from "../../api/queries";
import { Button } from "../../ui/button";
import { Confirm, Dialog } from "../../ui/dialog";
import { Badge, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, CopyButton, count } from "../../ui/text";
import { KeyFields, type KeyFieldsValue, limitsOf } from "./key-fields";

export function Keys() {
  const client = useQueryClient();
  const { data, error } = useQuery(keys);
  const [making, setMaking] = useState(false);
  const [changing, setChanging] = useState<Schemas["Key"] | null>(null);
  const [revoking, setRevoking] = useState<Schemas["Key"] | null>(null);
  return (
    <div className="stack">
      <div className="row">
        <p className="quiet">A key’s secret is shown once, when it is made.</p>
        <Button look="primary" className="push" onClick={() => setMaking(true)}>
          <Plus size={16} aria-hidden />
          New key
        </Button>
      </div>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={4} />}
      {data && (
        <TableCard label="API keys">
          <table className="table">
            <TableHead columns={["Subject", "Roles", "Limits", "Made", "Ends", { hidden: "Actions" }]} />
            <tbody>
              {data.map((key) => (
                <tr key={key.id}>
                  <td>
                    <span className="key-subject">{key.subject}</span>
                    <div className="quiet small mono">{key.id}</div>
                  </td>
                  <td>
                    <span className="row row-wrap">
                      {key.roles.map((role) => (
                        <Badge key={role}>{role}</Badge>
                      ))}
                    </span>
                  </td>
                  <td className="small">
                    <LimitsOf limits={key.limits} />
                  </td>
                  <td className="quiet">
                    <Ago at={key.created_at} />
                  </td>
                  <td className="quiet">{key.expires_at ? <Ago at={key.expires_at} /> : "never"}</td>
                  <td className="number">
                    {key.revoked_at ? (
                      <Badge tone="bad">revoked</Badge>
                    ) : (
                      <span className="row row-end">
                        <Button
                          small
                          aria-label={`Change the key ${key.id} of ${key.subject}`}
                          onClick={() => setChanging(key)}
                        >
                          Change…
                        </Button>
                        <Button small look="danger" onClick={() => setRevoking(key)}>
                          Revoke
                        </Button>
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableCard>
      )}
      <Make open={making} onClose={() => setMaking(false)} />
      {changing && <Change key={changing.id} of={changing} onClose={() => setChanging(null)} />}
      <Confirm
        open={revoking !== null}
        onClose={() => setRevoking(null)}
        title={`Revoke the key of ${revoking?.subject}?`}
        action="Revoke"
        onConfirm={async () => {
          await api.DELETE("/v1/keys/{id}", { params: { path: { id: revoking?.id ?? "" } } });
          await client.invalidateQueries({ queryKey: ["keys"] });
        }}
      >
        Whatever uses it is refused at once. This cannot be undone; make a new key instead.
      </Confirm>
    </div>
  );
}

function Make({ open, onClose }: { open: boolean; onClose: () => void }) {
  const client = useQueryClient();
  const [subject, setSubject] = useState("");
  const [fields, setFields] = useState<KeyFieldsValue>(BLANK);
  const [days, setDays] = useState("");
  const make = useMutation({
    mutationFn: async (key: Schemas["NewKey"]) => body(await api.POST("/v1/keys", { body: key })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["keys"] }),
  });
  const close = () => {
    setSubject("");
    setFields(BLANK);
    setDays("");
    make.reset();
    onClose();
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate({
      subject: subject.trim(),
      roles: fields.roles,
      limits: limitsOf(fields),
      ...(days ? { expires_in_days: Number(days) } : {}),
    });
  };
  if (make.data) {
    return (
      <Dialog open={open} onClose={close} title={`The key of ${make.data.subject}`}>
        <Note tone="warn">Copy it now: it is not kept, and cannot be shown again.</Note>
        <div className="secret">
          <code>{make.data.secret}</code>
          <CopyButton text={make.data.secret} label="Copy the key" />
        </div>
        <div className="dialog-actions">
          <Button look="primary" onClick={close}>
            Done
          </Button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog open={open} onClose={close} title="New API key">
      <form className="stack" onSubmit={submit}>
        <TextField
          label="Subject"
          placeholder="my-app"
          hint="Who it stands for; grants name it."
          value={subject}
          onChange={(event) => setSubject(event.target.value)}
        />
        <KeyFields value={fields} onChange={setFields} />
        <TextField
          label="Ends after (days)"
          type="number"
          min={1}
          placeholder="never"
          value={days}
          onChange={(event) => setDays(event.target.value)}
        />
        <ErrorNote error={make.error} />
        <div className="dialog-actions">
          <Button onClick={close}>Cancel</Button>
          <Button
            type="submit"
            look="primary"
            disabled={!subject.trim() || fields.roles.length === 0 || make.isPending}
          >
            Make the key
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

const BLANK: KeyFieldsValue = { roles: ["app"], requests: "", tokens: "" };

function LimitsOf({ limits }: { limits: Schemas["KeyLimits"] | undefined }) {
  const said = [
    limits?.requests_per_minute != null && `${count(limits.requests_per_minute)} requests/min`,
    limits?.tokens_per_day != null && `${count(limits.tokens_per_day)} tokens/day`,
  ].filter(Boolean);
  return said.length > 0 ? said.join(", ") : <span className="quiet">none</span>;
}

/** Other roles and limits for a key; they hold from its next request on. */
function Change({ of, onClose }: { of: Schemas["Key"]; onClose: () => void }) {
  const client = useQueryClient();
  const text = (limit: number | null | undefined) => (limit == null ? "" : String(limit));
  const [fields, setFields] = useState<KeyFieldsValue>({
    roles: of.roles,
    requests: text(of.limits?.requests_per_minute),
    tokens: text(of.limits?.tokens_per_day),
  });
  const change = useMutation({
    mutationFn: async () =>
      body(
        await api.PATCH("/v1/keys/{id}", {
          params: { path: { id: of.id } },
          body: { roles: fields.roles, limits: limitsOf(fields) },
        }),
      ),
    onSuccess: async () => {
      await Promise.all([
        client.invalidateQueries({ queryKey: ["keys"] }),
        client.invalidateQueries({ queryKey: ["me"] }),
      ]);
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title={`The key of ${of.subject}`}
      description="What you change holds from its next request on."
    >
      <form className="stack" onSubmit={submit}>
        <KeyFields value={fields} onChange={setFields} />
        <ErrorNote error={change.error} />
        <div className="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" disabled={fields.roles.length === 0 || change.isPending}>
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
