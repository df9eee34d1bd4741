// A trial of another generation: a part of the requests goes to it.
import { useState } from "react";
import type { Schemas } from "../../api/client";
import { Button } from "../../ui/button";
import { Note } from "../../ui/feedback";
import { SelectField, Slider } from "../../ui/field";
import { date } from "../../ui/text";

type Alias = Schemas["AdapterAlias"];

/** A part of the traffic for another generation, to see how it does. */
export function CanaryCard({
  alias,
  generations,
  busy,
  onChange,
}: {
  alias: Alias;
  /** Those that are stored, and so could be tried. */
  generations: Schemas["GenerationInfo"][];
  busy: boolean;
  onChange: (canary: Schemas["Canary"]) => void;
}) {
  const others = generations.map(({ generation }) => generation).filter((one) => one !== alias.generation);
  const stored = (one: string) => generations.find(({ generation }) => generation === one)?.created_at;
  const on = alias.canary?.generation;
  if (on && !others.includes(on)) others.unshift(on);
  const [generation, setGeneration] = useState(on ?? others[0] ?? "");
  const [percent, setPercent] = useState(alias.canary?.percent ?? 10);
  return (
    <section className="card card-pad stack" aria-label="Trial">
      <div>
        <h2>Trial</h2>
        <p className="quiet">
          Gives a part of the requests to another generation (a canary). Each answer’s record names the one
          that gave it.
        </p>
      </div>
      {others.length === 0 ? (
        <Note>There is no other generation to try. Upload a new one under the same name first.</Note>
      ) : (
        <>
          <SelectField
            label="Generation"
            value={generation}
            onChange={(event) => setGeneration(event.target.value)}
          >
            {others.map((one) => (
              <option key={one} value={one}>
                {one.slice(0, 12)}
                {stored(one) && `, stored ${date(stored(one) ?? "")}`}
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
