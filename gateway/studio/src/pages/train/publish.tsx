// The names under which a finished run's adapter answers, and giving it another one.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Tag } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { api, body } from "../../api/client";
import { adapters } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { announce } from "../../ui/announce";
import { Button } from "../../ui/button";
import { ErrorNote, Note } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { Hash } from "../../ui/text";

export function Publish({ base, generation }: { base: string; generation: string }) {
  const client = useQueryClient();
  const caller = useCaller();
  const { data = [], error } = useQuery(adapters(base));
  const [name, setName] = useState("");
  const known = useId();
  const publish = useMutation({
    mutationFn: async (to: string) =>
      body(
        await api.PUT("/v1/adapters/{base}/{name}", {
          params: { path: { base, name: to } },
          body: { generation },
        }),
      ),
    onSuccess: ({ name: published }) => {
      announce(`${published} answers with this adapter now`);
      setName("");
      return client.invalidateQueries({ queryKey: ["adapters"] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    publish.mutate(name.trim());
  };
  const here = data.filter((alias) => alias.generation === generation);
  const trials = data.filter((alias) => alias.canary?.generation === generation);
  const own = data.filter(
    (alias) =>
      alias.generation !== generation && (alias.owner === caller?.subject || caller?.roles.includes("admin")),
  );
  const moves = own.find((alias) => alias.name === name.trim());
  return (
    <section className="card" aria-labelledby="publish">
      <div className="card-head">
        <h2 id="publish">Published</h2>
        <span className="quiet small">
          generation <Hash value={generation} label="generation" />
        </span>
      </div>
      <div className="card-pad stack">
        <ErrorNote error={error} />
        {here.length === 0 && trials.length === 0 ? (
          <p>No name means it now, so nobody is answered by it. Give it one below.</p>
        ) : (
          <ul className="stack-s">
            {here.map((alias) => (
              <li key={alias.name}>
                <Link
                  to="/adapters/$base/$name"
                  params={{ base, name: alias.name }}
                  className="table-link mono"
                >
                  {base}:{alias.name}
                </Link>{" "}
                <span className="quiet">answers with it; {VISIBLE[alias.visibility]}.</span>
              </li>
            ))}
            {trials.map((alias) => (
              <li key={alias.name}>
                <Link
                  to="/adapters/$base/$name"
                  params={{ base, name: alias.name }}
                  className="table-link mono"
                >
                  {base}:{alias.name}
                </Link>{" "}
                <span className="quiet">tries it on {alias.canary?.percent}% of requests.</span>
              </li>
            ))}
          </ul>
        )}
        <form className="publish-form" onSubmit={submit}>
          <TextField
            label="Publish it under another name"
            list={known}
            placeholder={own[0]?.name ?? "glossary-v2"}
            hint={
              own[0]
                ? `A new name, or one that you have, such as ${own[0].name}: that one then answers with this.`
                : "Small letters, digits, - and _. Only you may use it until you share it."
            }
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
          <datalist id={known}>
            {own.map((alias) => (
              <option key={alias.name} value={alias.name} />
            ))}
          </datalist>
          <Button type="submit" disabled={!name.trim() || publish.isPending}>
            <Tag size={16} aria-hidden />
            {moves ? `Move ${moves.name} to it` : "Publish"}
          </Button>
        </form>
        {moves && (
          <p className="quiet small">
            {moves.name} means generation <span className="mono">{moves.generation.slice(0, 8)}</span> now.
            From the next request on it means this one; its page rolls it back.
          </p>
        )}
        <ErrorNote error={publish.error} />
        {publish.data && (
          <Note tone="good">
            {base}:{publish.data.name} answers with this adapter now.
          </Note>
        )}
      </div>
    </section>
  );
}

const VISIBLE = {
  private: "only its owner may use it",
  granted: "its owner and whom they let may use it",
  public: "everyone with a key may use it",
} as const;
