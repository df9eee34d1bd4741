// Writing terms: a choice for each clause, and before they are published who would be granted under them.
import { useMutation } from "@tanstack/react-query";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Button } from "../../ui/button";
import { Badge, ErrorNote, Note } from "../../ui/feedback";
import { SelectField, Switch, TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { useRefresh } from "./request-card";

type Terms = Schemas["Terms"];
type Answer = Schemas["Answer"];
/** Terms as they are written: the gateway fills in what is left out. */
type Draft = { [K in keyof Terms]?: Terms[K] extends unknown[] ? Terms[K] : Partial<Terms[K]> | null };

const ANSWERS: [Answer, string][] = [
  ["allow", "open"],
  ["refer", "people decide"],
  ["deny", "not given"],
];
const PURPOSES = ["retrieval", "training", "evaluation"] as const;
const ACTORS = ["individual", "academic", "nonprofit", "company", "government"] as const;
/** The types only know what the gateway answers. */
const whole = (terms: Draft) => terms as Terms;
/** What it assumes where terms are silent. */
const SILENT = { retrieval: "allow", training: "refer", evaluation: "allow" } as const;

export function TermsEditor({ name, terms: published }: { name: string; terms: Terms | undefined }) {
  const refresh = useRefresh();
  const [terms, setTerms] = useState<Draft>(published ?? {});
  const change = (more: Draft) => setTerms({ ...terms, ...more });
  const path = { name };
  const simulate = useMutation({
    mutationFn: async () =>
      body(
        await api.POST("/v1/datanets/{name}/terms/simulate", {
          params: { path },
          body: { terms: whole(terms), applications: [] },
        }),
      ),
  });
  const publish = useMutation({
    mutationFn: async () =>
      body(await api.PUT("/v1/datanets/{name}/terms", { params: { path }, body: whole(terms) })),
    onSuccess: refresh,
  });
  const review = terms.review ?? {};
  const affirmations = terms.affirmations ?? [];
  const list = (text: string) => text.split(/[\s,]+/).filter(Boolean);
  return (
    <section className="card card-pad stack" aria-labelledby="terms-editor">
      <h2 id="terms-editor">{published ? "Publish new terms" : "Publish terms"}</h2>
      <p className="quiet">
        Who asks is decided at once by what you publish; only what you leave to people waits for them. Each
        version stays in the log, and grants that were given under it stay until they end.
      </p>
      <h3>What for</h3>
      <div className="terms-grid">
        {PURPOSES.map((purpose) => (
          <Choice
            key={purpose}
            label={`For ${purpose}`}
            value={terms.purposes?.[purpose] ?? SILENT[purpose]}
            onChange={(answer) => change({ purposes: { ...terms.purposes, [purpose]: answer } })}
          />
        ))}
        <Choice
          label="Commercial use"
          value={terms.commercial ?? "refer"}
          onChange={(commercial) => change({ commercial })}
        />
      </div>
      <h3>Who may ask</h3>
      <div className="terms-grid">
        {ACTORS.map((actor) => (
          <Choice
            key={actor}
            label={`Users: ${actor}`}
            value={terms.actors?.[actor] ?? "allow"}
            onChange={(answer) => change({ actors: { ...terms.actors, [actor]: answer } })}
          />
        ))}
        <TextField
          label="Countries"
          hint="Codes such as CH, or EU and EEA; empty: anywhere."
          defaultValue={(terms.regions ?? []).join(", ")}
          onBlur={(event) => {
            const regions = list(event.target.value.toUpperCase());
            change({ regions: regions.length > 0 ? regions : null });
          }}
        />
      </div>
      <h3>How much, and for how long</h3>
      <div className="terms-grid">
        <NumberField
          label="Longest grant, in days"
          value={terms.duration_days ?? 365}
          onChange={(days) => change({ duration_days: days ?? 365 })}
        />
        <NumberField
          label="Retrievals a day"
          hint="Empty: as many as wanted."
          value={terms.retrievals_per_day ?? null}
          onChange={(most) => change({ retrievals_per_day: most })}
        />
        <NumberField
          label="Statement, at least characters"
          hint="0: none is needed."
          value={terms.statement_characters ?? 0}
          onChange={(least) => change({ statement_characters: least ?? 0 })}
        />
        <TextField
          label="Only rows where"
          hint={'A filter, such as metadata.topic = "storage"; empty: all.'}
          value={terms.rows ?? ""}
          onChange={(event) => change({ rows: event.target.value || null })}
        />
        <TextField
          label="Price"
          hint="For people to read; nothing is billed."
          value={terms.price ?? ""}
          onChange={(event) => change({ price: event.target.value })}
        />
        <Choice
          label="Contributions by others"
          value={terms.contributions?.from_anyone ?? "refer"}
          onChange={(from_anyone) => change({ contributions: { ...terms.contributions, from_anyone } })}
        />
      </div>
      <h3>Who decides what is left to people</h3>
      <div className="terms-grid">
        <TextField
          label="Reviewers"
          hint="Subjects; empty: you."
          defaultValue={(review.reviewers ?? []).join(", ")}
          onBlur={(event) => change({ review: { ...review, reviewers: list(event.target.value) } })}
        />
        <NumberField
          label="How many have to agree"
          value={review.required ?? 1}
          onChange={(required) => change({ review: { ...review, required: required ?? 1 } })}
        />
        <NumberField
          label="Hours until it is passed on"
          value={review.deadline_hours ?? 72}
          onChange={(hours) => change({ review: { ...review, deadline_hours: hours ?? 72 } })}
        />
        <TextField
          label="Passed on to"
          hint="Subjects; empty: you."
          defaultValue={(review.escalate_to ?? []).join(", ")}
          onBlur={(event) => change({ review: { ...review, escalate_to: list(event.target.value) } })}
        />
      </div>
      <Switch
        label="Sensitive: people decide every request"
        checked={terms.sensitive ?? false}
        onChange={(sensitive) => change({ sensitive })}
      />
      <div className="stack-s">
        <h3>To be affirmed</h3>
        {affirmations.map((one, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the place is what identifies one while it is written
          <div key={place} className="affirmation">
            <div>
              <TextField
                label={`Affirmation ${place + 1}`}
                value={one.text}
                onChange={(event) =>
                  change({
                    affirmations: affirmations.map((it, at) =>
                      at === place ? { ...it, text: event.target.value } : it,
                    ),
                  })
                }
              />
            </div>
            <Button
              look="quiet"
              className="button-icon"
              aria-label={`Remove affirmation ${place + 1}`}
              onClick={() => change({ affirmations: affirmations.filter((_, at) => at !== place) })}
            >
              <Trash2 size={16} aria-hidden />
            </Button>
          </div>
        ))}
        <div>
          <Button
            small
            onClick={() =>
              change({
                affirmations: [...affirmations, { id: `affirmation-${affirmations.length + 1}`, text: "" }],
              })
            }
          >
            <Plus size={14} aria-hidden />
            Add an affirmation
          </Button>
        </div>
      </div>
      <ErrorNote error={simulate.error ?? publish.error} />
      <div className="row">
        <Button onClick={() => simulate.mutate()} disabled={simulate.isPending}>
          Try them out
        </Button>
        <Button look="primary" onClick={() => publish.mutate()} disabled={publish.isPending}>
          Publish
        </Button>
      </div>
      {simulate.data && <Tried result={simulate.data} />}
    </section>
  );
}

const TONES = { granted: "good", referred: "warn", denied: "bad" } as const;

/** Who would be granted. */
function Tried({ result }: { result: Schemas["SimulationResult"] }) {
  return (
    <div className="stack" role="status">
      {result.changes.length > 0 && (
        <Note>
          <ul className="terms-words">
            {result.changes.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </Note>
      )}
      {result.requests.each.length > 0 && (
        <p>
          Of the last {result.requests.each.length} requests, {result.requests.granted} would be granted,{" "}
          {result.requests.referred} referred and {result.requests.denied} denied; {result.differently.length}{" "}
          otherwise than now
          {result.differently.length > 0 &&
            `: ${result.differently.map((it) => `${it.subject} (${it.now}, then ${it.then})`).join(", ")}`}
          .
        </p>
      )}
      <TableCard label="Who would be granted">
        <table className="table">
          <TableHead columns={["Who", "For", "Outcome", "Why"]} />
          <tbody>
            {result.applicants.each.map(({ application, evaluation }) => (
              <tr key={`${application.actor} ${application.purposes} ${application.commercial}`}>
                <td className="strong">{application.actor}</td>
                <td>
                  {application.purposes.join(", ")}
                  {application.commercial ? ", commercially" : ""}
                </td>
                <td>
                  <Badge tone={TONES[evaluation.outcome]}>{evaluation.outcome}</Badge>
                </td>
                <td className="quiet">
                  {evaluation.findings
                    .filter((finding) => finding.answer !== "allow")
                    .map((finding) => finding.reason)
                    .join("; ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableCard>
    </div>
  );
}

function Choice({
  label,
  value,
  onChange,
}: {
  label: string;
  value: Answer;
  onChange: (answer: Answer) => void;
}) {
  return (
    <SelectField label={label} value={value} onChange={(event) => onChange(event.target.value as Answer)}>
      {ANSWERS.map(([answer, words]) => (
        <option key={answer} value={answer}>
          {words}
        </option>
      ))}
    </SelectField>
  );
}

function NumberField({
  label,
  hint,
  value,
  onChange,
}: {
  label: string;
  hint?: string;
  value: number | null;
  onChange: (value: number | null) => void;
}) {
  return (
    <TextField
      label={label}
      {...(hint ? { hint } : {})}
      type="number"
      min={0}
      value={value ?? ""}
      onChange={(event) => onChange(event.target.value === "" ? null : event.target.valueAsNumber)}
    />
  );
}
