// Who may name an adapter in a request, and to whom it is granted.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Segments, TextField } from "../../ui/field";

type Alias = Schemas["AdapterAlias"];

export function Sharing({
  alias,
  onChange,
}: {
  alias: Alias;
  onChange: (visibility: Alias["visibility"]) => void;
}) {
  const { base, name } = alias;
  const client = useQueryClient();
  const [subject, setSubject] = useState("");
  const [said, setSaid] = useState<string | null>(null);
  const granted = useQuery({
    queryKey: ["adapters", base, name, "grants"],
    queryFn: async () =>
      body(await api.GET("/v1/adapters/{base}/{name}/grants", { params: { path: { base, name } } })).data,
  });
  const change = useMutation({
    mutationFn: async ({ to, allow }: { to: string; allow: boolean }) => {
      const params = { params: { path: { base, name, subject: to } } };
      if (allow) await api.PUT("/v1/adapters/{base}/{name}/grants/{subject}", params);
      else await api.DELETE("/v1/adapters/{base}/{name}/grants/{subject}", params);
      return allow ? `${to} may use it now.` : `${to} may no longer use it.`;
    },
    onMutate: () => setSaid(null),
    onSuccess: async (text, { allow }) => {
      setSaid(text);
      if (allow) setSubject("");
      await client.invalidateQueries({ queryKey: ["adapters", base, name, "grants"] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate({ to: subject.trim(), allow: true });
  };
  const subjects = granted.data ?? [];
  const open = alias.visibility === "granted";
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
      {!granted.data && !granted.error && <Waiting lines={1} />}
      {subjects.length > 0 && (
        <div className="stack-s">
          <h3>Granted to</h3>
          {!open && (
            <p className="quiet small">These grants take effect while it is shared with those granted.</p>
          )}
          <ul className="grantees">
            {subjects.map((one) => (
              <li key={one} className="row">
                <span>{one}</span>
                <Button
                  small
                  look="danger"
                  className="push"
                  disabled={change.isPending}
                  aria-label={`Revoke the grant of ${one}`}
                  onClick={() => change.mutate({ to: one, allow: false })}
                >
                  Revoke
                </Button>
              </li>
            ))}
          </ul>
        </div>
      )}
      {open && (
        <form className="stack-s" onSubmit={submit}>
          <TextField
            label="Grant it to"
            placeholder="my-app"
            hint="The subject of an API key, or of a token."
            value={subject}
            onChange={(event) => setSubject(event.target.value)}
          />
          <div>
            <Button type="submit" disabled={!subject.trim() || change.isPending}>
              Grant
            </Button>
          </div>
        </form>
      )}
      <div role="status">{said && <Note tone="good">{said}</Note>}</div>
      <ErrorNote error={change.error ?? granted.error} />
    </section>
  );
}
