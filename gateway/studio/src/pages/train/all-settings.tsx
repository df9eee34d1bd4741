// Every option, folded away: what is left empty is as the preset has it.
import { useState } from "react";
import { SelectField, TextField } from "../../ui/field";
import {
  ALL_LINEAR,
  ATTENTION,
  type Given,
  GROUPS,
  type Option,
  PRESET_VALUES,
  type Preset,
  said,
} from "./options";

export function AllSettings({
  preset,
  method,
  given,
  onChange,
}: {
  preset: Preset;
  method: "lora" | "qlora";
  given: Given;
  onChange: (given: Given) => void;
}) {
  const changed = Object.values(given).filter((value) => value.trim() !== "").length;
  const set = (name: string, value: string) => onChange({ ...given, [name]: value });
  return (
    <details className="settings">
      <summary className="settings-summary">
        All settings
        {changed > 0 && <span className="quiet"> · {changed} changed</span>}
      </summary>
      <div className="stack-l settings-body">
        <p className="quiet small">
          What you leave empty is as the preset has it; its value is shown in grey.
        </p>
        {GROUPS.map(({ title, options }) => (
          <section key={title} className="stack-s" aria-label={title}>
            <h3>{title}</h3>
            <div className="fields">
              {options
                .filter(({ only }) => !only || only === method)
                .map((option) => (
                  <div
                    key={option.name}
                    data-option={option.name}
                    data-preset={said(PRESET_VALUES[preset][option.name])}
                  >
                    <Field
                      option={option}
                      preset={said(PRESET_VALUES[preset][option.name])}
                      value={given[option.name] ?? ""}
                      onChange={(value) => set(option.name, value)}
                    />
                  </div>
                ))}
              {title === LAST && (
                <>
                  <TextField
                    label="Held out"
                    hint="The part of the data that is not learnt but used to measure: 0 to 0.5."
                    inputMode="decimal"
                    placeholder="0.1"
                    value={given.held_out ?? ""}
                    onChange={(event) => set("held_out", event.target.value)}
                  />
                  <TextField
                    label="Answers to compare"
                    hint="Held-out questions that base and adapter both answer at the end."
                    inputMode="numeric"
                    placeholder="32"
                    value={given.evaluation_samples ?? ""}
                    onChange={(event) => set("evaluation_samples", event.target.value)}
                  />
                </>
              )}
            </div>
          </section>
        ))}
      </div>
    </details>
  );
}

/** The group that also has what is not an option of the trainer. */
const LAST = GROUPS.at(-1)?.title;

function Field({
  option,
  preset,
  value,
  onChange,
}: {
  option: Option;
  preset: string;
  value: string;
  onChange: (value: string) => void;
}) {
  const { kind, label, text, unset = "off" } = option;
  if (kind === "modules")
    return <Modules option={option} preset={preset} value={value} onChange={onChange} />;
  if (kind === "number") {
    return (
      <TextField
        label={label}
        hint={text}
        inputMode="decimal"
        placeholder={preset === "off" ? unset : preset}
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
    );
  }
  const choices =
    kind === "switch"
      ? ([
          ["on", "on"],
          ["off", "off"],
        ] as const)
      : kind;
  const shown = choices.find(([choice]) => choice === preset)?.[1] ?? preset;
  return (
    <SelectField label={label} hint={text} value={value} onChange={(event) => onChange(event.target.value)}>
      <option value="">{shown} (preset)</option>
      {choices.map(([choice, words]) => (
        <option key={choice} value={choice}>
          {words}
        </option>
      ))}
    </SelectField>
  );
}

function Modules({
  option,
  preset,
  value,
  onChange,
}: {
  option: Option;
  preset: string;
  value: string;
  onChange: (value: string) => void;
}) {
  const known: readonly (readonly [string, string])[] = [
    [ALL_LINEAR, "all linear layers"],
    [ATTENTION, "the attention layers"],
    ["q_proj, v_proj", "queries and values only"],
  ];
  const named = known.some(([choice]) => choice === value);
  const [free, setFree] = useState(value !== "" && !named);
  const shown = known.find(([choice]) => choice === preset)?.[1] ?? preset;
  return (
    <div className="stack-s">
      <SelectField
        label={option.label}
        hint={option.text}
        value={free ? "free" : value}
        onChange={(event) => {
          setFree(event.target.value === "free");
          onChange(event.target.value === "free" ? "" : event.target.value);
        }}
      >
        <option value="">{shown} (preset)</option>
        {known.map(([choice, words]) => (
          <option key={choice} value={choice}>
            {words}
          </option>
        ))}
        <option value="free">others, by name</option>
      </SelectField>
      {free && (
        <TextField
          label="Names or a pattern"
          hint="Names with commas, or a regular expression over whole paths."
          placeholder="gate_proj, up_proj"
          value={value}
          onChange={(event) => onChange(event.target.value)}
        />
      )}
    </div>
  );
}
