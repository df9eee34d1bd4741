// A datanet's terms: in words, every version, and the way to ask; for who governs it, the editor with its simulator.
import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { requestsFor, termsOf } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button, ButtonLink } from "../../ui/button";
import { Empty, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Checkbox, SelectField, TextArea, TextField } from "../../ui/field";
import { More } from "../../ui/more";
import { Ago, Hash } from "../../ui/text";
import { RequestCard, useRefresh } from "./request-card";
import { TermsEditor } from "./terms-editor";
import { ACTORS, PURPOSES } from "./words";

export function Terms({ datanet, governs }: { datanet: Schemas["Datanet"]; governs: boolean }) {
  const { data, error } = useQuery(termsOf(datanet.name));
  if (error) return <ErrorNote error={error} />;
  if (!data) return <Waiting lines={5} />;
  const [now, ...before] = data;
  return (
    <div className="stack">
      {now ? (
        <section className="card card-pad stack-s" aria-labelledby="terms-now">
          <div className="row row-wrap">
            <h2 id="terms-now">The terms, version {now.version}</h2>
            <span className="quiet small push">
              published by {now.published_by} <Ago at={now.published_at} />
            </span>
          </div>
          <ul className="terms-words">
            {now.in_words.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
          <p className="quiet small">
            Entry {now.log_index ?? "…"} of the transparency log:{" "}
            <Hash value={now.leaf} label="hash of the entry" />
          </p>
          {before.length > 0 && (
            <details>
              <summary>What changed before</summary>
              {[now, ...before].map((version) => (
                <div key={version.version} className="small terms-version">
                  <strong>Version {version.version}</strong>, <Ago at={version.published_at} />
                  <ul>
                    {(version.changes.length > 0 ? version.changes : ["the first"]).map((line) => (
                      <li key={line}>{line}</li>
                    ))}
                  </ul>
                </div>
              ))}
            </details>
          )}
        </section>
      ) : (
        <Empty title="No terms are published">
          {governs
            ? "Publish some, and who asks is decided at once; until then only you give access."
            : `Only ${datanet.owner} gives access to this datanet.`}
        </Empty>
      )}
      {governs && <TermsEditor key={now?.version ?? 0} name={datanet.name} terms={now?.terms} />}
      {!governs && now && <Ask datanet={datanet} terms={now.terms} />}
      {!governs && <Mine name={datanet.name} />}
    </div>
  );
}

function Mine({ name }: { name: string }) {
  const caller = useCaller();
  const list = useInfiniteQuery(requestsFor(name));
  const { data = [] } = list;
  const mine = data.filter((one) => one.subject === caller?.subject);
  if (mine.length === 0) return null;
  return (
    <section className="stack" aria-labelledby="mine">
      <h2 id="mine">Your requests</h2>
      {mine.map((one) => (
        <RequestCard key={one.id} request={one} />
      ))}
      <More list={list} of="requests" />
    </section>
  );
}

/** Decided while one watches, unless the terms refer it to people. */
function Ask({ datanet, terms }: { datanet: Schemas["Datanet"]; terms: Schemas["Terms"] }) {
  const refresh = useRefresh();
  const [purposes, setPurposes] = useState<Schemas["Purpose"][]>(["retrieval"]);
  const [actor, setActor] = useState<Schemas["Actor"]>("individual");
  const [commercial, setCommercial] = useState(false);
  const [region, setRegion] = useState("");
  const [statement, setStatement] = useState("");
  const [days, setDays] = useState("");
  const [rows, setRows] = useState("");
  const [affirmed, setAffirmed] = useState<string[]>([]);
  const ask = useMutation({
    mutationFn: async () =>
      body(
        await api.POST("/v1/datanets/{name}/requests", {
          params: { path: { name: datanet.name } },
          body: {
            purposes,
            actor,
            commercial,
            affirmed,
            statement: statement.trim(),
            ...(region.trim() ? { region: region.trim().toUpperCase() } : {}),
            ...(days ? { days: Number(days) } : {}),
            ...(rows.trim() ? { rows: rows.trim() } : {}),
          },
        }),
      ),
    onSuccess: refresh,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    ask.mutate();
  };
  const toggle = <T,>(list: T[], one: T, on: boolean) =>
    on ? [...list, one] : list.filter((it) => it !== one);
  const needed = terms.statement_characters ?? 0;
  return (
    <form className="card card-pad stack" onSubmit={submit} aria-labelledby="ask">
      <h2 id="ask">{datanet.access === "grant" ? "Ask for more" : "Ask for access"}</h2>
      <fieldset className="stack-s fieldset">
        <legend className="field-label">For</legend>
        {PURPOSES.map(([purpose, words]) => (
          <Checkbox
            key={purpose}
            checked={purposes.includes(purpose)}
            onChange={(on) => setPurposes(toggle(purposes, purpose, on))}
          >
            {words}
          </Checkbox>
        ))}
      </fieldset>
      <SelectField
        label="I am"
        value={actor}
        onChange={(event) => setActor(event.target.value as Schemas["Actor"])}
      >
        {ACTORS.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </SelectField>
      <Checkbox checked={commercial} onChange={setCommercial}>
        It serves a commercial end
      </Checkbox>
      {terms.regions && (
        <TextField
          label="Country where it will be used"
          placeholder="CH"
          maxLength={2}
          value={region}
          onChange={(event) => setRegion(event.target.value)}
        />
      )}
      <TextArea
        label="What it is for"
        hint={
          needed > 0
            ? `At least ${needed} characters; ${statement.trim().length} so far.`
            : "Not needed here."
        }
        value={statement}
        onChange={(event) => setStatement(event.target.value)}
      />
      <details>
        <summary>Ask for less: some days, some rows</summary>
        <div className="fields details-body">
          <TextField
            label="For how many days"
            type="number"
            min={1}
            placeholder={String(terms.duration_days ?? 365)}
            hint="Without: as long as the terms allow."
            value={days}
            onChange={(event) => setDays(event.target.value)}
          />
          <TextField
            label="Only these rows"
            placeholder={'metadata.topic = "storage"'}
            hint="A filter; without: all that the terms give."
            value={rows}
            onChange={(event) => setRows(event.target.value)}
          />
        </div>
      </details>
      {(terms.affirmations ?? []).map(({ id, text }) => (
        <Checkbox
          key={id}
          checked={affirmed.includes(id)}
          onChange={(on) => setAffirmed(toggle(affirmed, id, on))}
        >
          I affirm: {text}
        </Checkbox>
      ))}
      <ErrorNote error={ask.error} />
      {ask.data?.status === "granted" && (
        <Note tone="good">
          <div className="row row-wrap">
            <span>Granted. You can use {datanet.name} now, as the request below says.</span>
            <ButtonLink to="/datanets/$name" params={{ name: datanet.name }} search={{ tab: "browse" }} small>
              Browse
            </ButtonLink>
            <ButtonLink to="/chat" search={{ datanet: datanet.name }} small>
              Ask it something
            </ButtonLink>
          </div>
        </Note>
      )}
      {ask.data?.status === "denied" && (
        <Note tone="warn">Denied, for what is marked below. Mend it and ask again.</Note>
      )}
      {ask.data?.status === "waiting" && (
        <Note>People decide this one; you see below who, and until when.</Note>
      )}
      <div>
        <Button type="submit" look="primary" disabled={ask.isPending || purposes.length === 0}>
          Ask
        </Button>
      </div>
    </form>
  );
}
