// API keys: made, listed without their secrets, revoked.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { keys } from "../../api/queries";
import { Button } from "../../ui/button";
import { Confirm, Dialog } from "../../ui/dialog";
import { Badge, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Checkbox, TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { Ago, CopyButton } from "../../ui/text";

type Role = Schemas["Role"];

const ROLES: [Role, string][] = [
  ["app", "asks, searches and embeds"],
  ["contributor", "also adds datapoints"],
  ["steward", "makes datanets and decides who may use them"],
  ["trainer", "uploads and publishes adapters"],
  ["auditor", "reads every record, the log and the metrics"],
  ["admin", "may do everything"],
];

export function Keys() {
  const client = useQueryClient();
  const { data, error } = useQuery(keys);
  const [making, setMaking] = useState(false);
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
            <thead>
              <tr>
                <th scope="col">Subject</th>
                <th scope="col">Roles</th>
                <th scope="col">Made</th>
                <th scope="col">Ends</th>
                <th scope="col">
                  <span className="hidden-visually">Actions</span>
                </th>
              </tr>
            </thead>
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
                  <td className="quiet">
                    <Ago at={key.created_at} />
                  </td>
                  <td className="quiet">{key.expires_at ? <Ago at={key.expires_at} /> : "never"}</td>
                  <td className="number">
                    {key.revoked_at ? (
                      <Badge tone="bad">revoked</Badge>
                    ) : (
                      <Button small look="danger" onClick={() => setRevoking(key)}>
                        Revoke
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableCard>
      )}
      <Make open={making} onClose={() => setMaking(false)} />
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
  const [roles, setRoles] = useState<Role[]>(["app"]);
  const [days, setDays] = useState("");
  const make = useMutation({
    mutationFn: async (key: Schemas["NewKey"]) => body(await api.POST("/v1/keys", { body: key })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["keys"] }),
  });
  const close = () => {
    setSubject("");
    setRoles(["app"]);
    setDays("");
    make.reset();
    onClose();
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate({ subject: subject.trim(), roles, ...(days ? { expires_in_days: Number(days) } : {}) });
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
        <fieldset className="roles">
          <legend className="field-label">Roles</legend>
          {ROLES.map(([role, text]) => (
            <Checkbox
              key={role}
              checked={roles.includes(role)}
              onChange={(on) => setRoles(on ? [...roles, role] : roles.filter((one) => one !== role))}
            >
              {role} <span className="quiet">{text}</span>
            </Checkbox>
          ))}
        </fieldset>
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
            disabled={!subject.trim() || roles.length === 0 || make.isPending}
          >
            Make the key
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
