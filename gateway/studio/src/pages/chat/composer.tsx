// Where questions are written, with what they are asked of: models, datanets, and how answers are sampled.
import { useQueries, useQuery } from "@tanstack/react-query";
import { ArrowUp, ChevronDown, Columns2, Database, SlidersHorizontal, Square } from "lucide-react";
import { type FormEvent, type KeyboardEvent, useRef, useState } from "react";
import type { Schemas } from "../../api/client";
import { adapters, datanets, models } from "../../api/queries";
import { Button, IconButton } from "../../ui/button";
import { Checkbox, SelectField, Slider, TextArea, TextField } from "../../ui/field";
import { Menu, MenuGroup, MenuRadio, MenuRadioItem, Popover } from "../../ui/popover";
import { count } from "../../ui/text";
import type { Choice, Settings } from "./store";

interface Given {
  how: Settings;
  onChange: (next: Settings) => void;
  onSend: (question: string) => void;
  busy: boolean;
  onStop: () => void;
  disabled: boolean;
}

export function Composer({ how, onChange, onSend, busy, onStop, disabled }: Given) {
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const send = () => {
    if (!text.trim() || busy || disabled) return;
    onSend(text.trim());
    setText("");
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    send();
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send();
    }
  };
  const [first, second] = how.choices;
  const choose = (index: number, choice: Choice) =>
    onChange({ ...how, choices: how.choices.map((one, place) => (place === index ? choice : one)) });
  const beside = useBeside(first);
  const compare = () => {
    if (!first) return;
    if (second) onChange({ ...how, choices: [first] });
    else if (beside) onChange({ ...how, choices: [first, beside] });
  };
  return (
    <form className="composer" onSubmit={submit}>
      <div className="composer-box card">
        <textarea
          ref={box}
          className="composer-input"
          aria-label="Your question"
          placeholder="Ask a question"
          rows={1}
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={key}
        />
        <div className="composer-bar">
          {first && <ModelMenu label="Model" choice={first} onChange={(choice) => choose(0, choice)} />}
          {second && (
            <>
              <span className="quiet small">and</span>
              <ModelMenu label="Second model" choice={second} onChange={(choice) => choose(1, choice)} />
            </>
          )}
          <IconButton
            small
            label={
              second
                ? "Stop comparing"
                : beside
                  ? "Compare two side by side"
                  : "Nothing to compare with yet: train or upload an adapter"
            }
            aria-pressed={Boolean(second)}
            aria-disabled={!second && !beside}
            onClick={compare}
          >
            <Columns2 size={16} />
          </IconButton>
          <DatanetMenu chosen={how.datanets} onChange={(chosen) => onChange({ ...how, datanets: chosen })} />
          <Sampling how={how} onChange={onChange} />
          {busy ? (
            <IconButton small look="primary" label="Stop" className="push" onClick={onStop}>
              <Square size={13} fill="currentColor" />
            </IconButton>
          ) : (
            <IconButton
              small
              look="primary"
              label="Send"
              type="submit"
              className="push"
              disabled={!text.trim() || disabled}
            >
              <ArrowUp size={16} />
            </IconButton>
          )}
        </div>
      </div>
    </form>
  );
}

/** What to set beside a choice: an adapter's base, a base's adapter, or another model. */
function useBeside(first: Choice | undefined): Choice | undefined {
  const { data: known = [] } = useQuery(models);
  const { data: aliases = [] } = useQuery({ ...adapters(first?.model ?? ""), enabled: Boolean(first) });
  if (!first) return undefined;
  if (first.adapter) return { model: first.model, adapter: null };
  const [alias] = aliases;
  if (alias) return { model: first.model, adapter: alias.name };
  const other = known.find(({ kind, id }) => kind === "chat" && id !== first.model);
  return other && { model: other.id, adapter: null };
}

const value = (choice: Choice) => (choice.adapter ? `${choice.model}:${choice.adapter}` : choice.model);

function ModelMenu({
  label,
  choice,
  onChange,
}: {
  label: string;
  choice: Choice;
  onChange: (choice: Choice) => void;
}) {
  const { data = [] } = useQuery(models);
  const chat = data.filter((model) => model.kind === "chat");
  const aliases = useQueries({ queries: chat.map((model) => adapters(model.id)) });
  const options = new Map(
    chat.flatMap((model, place) => {
      const named = (aliases[place]?.data ?? []).map((alias) => ({ model: model.id, adapter: alias.name }));
      return [{ model: model.id, adapter: null }, ...named].map((one) => [value(one), one] as const);
    }),
  );
  return (
    <Menu
      side="top"
      trigger={
        <Button small look="quiet" className="composer-pick">
          <span className="hidden-visually">{label}: </span>
          <span className="truncate">{choice.adapter ?? choice.model}</span>
          <ChevronDown size={14} aria-hidden />
        </Button>
      }
    >
      <MenuRadio
        label={label}
        value={value(choice)}
        onChange={(next) => {
          const found = options.get(next);
          if (found) onChange(found);
        }}
      >
        {chat.map((model, place) => (
          <MenuGroup key={model.id} label={model.id}>
            <MenuRadioItem value={model.id}>
              <Chosen on={value(choice) === model.id} />
              Base, without adapter
              <span className="push quiet small">{model.status}</span>
            </MenuRadioItem>
            {(aliases[place]?.data ?? []).map((alias) => (
              <AliasItem
                key={alias.name}
                alias={alias}
                on={value(choice) === `${alias.base}:${alias.name}`}
              />
            ))}
          </MenuGroup>
        ))}
      </MenuRadio>
    </Menu>
  );
}

function AliasItem({ alias, on }: { alias: Schemas["AdapterAlias"]; on: boolean }) {
  return (
    <MenuRadioItem value={`${alias.base}:${alias.name}`}>
      <Chosen on={on} />
      {alias.name}
      <span className="push quiet small mono">{alias.generation.slice(0, 8)}</span>
    </MenuRadioItem>
  );
}

function Chosen({ on }: { on: boolean }) {
  return <span className="menu-dot" data-on={on || undefined} aria-hidden />;
}

function DatanetMenu({ chosen, onChange }: { chosen: string[]; onChange: (chosen: string[]) => void }) {
  const { data = [] } = useQuery(datanets);
  const [only] = chosen;
  const text = chosen.length === 0 ? "No datanet" : chosen.length === 1 ? only : `${chosen.length} datanets`;
  return (
    <Popover
      side="top"
      label="Datanets to cite"
      trigger={
        <Button small look="quiet" className="composer-pick">
          <Database size={15} aria-hidden />
          <span className="hidden-visually">Datanets: </span>
          <span className="truncate">{text}</span>
          <ChevronDown size={14} aria-hidden />
        </Button>
      }
    >
      <div className="pick">
        <h3>Datanets to cite</h3>
        {data.length === 0 && <p className="quiet small">You may read none yet.</p>}
        {data.map((datanet) => (
          <Checkbox
            key={datanet.name}
            checked={chosen.includes(datanet.name)}
            onChange={(on) =>
              onChange(on ? [...chosen, datanet.name] : chosen.filter((name) => name !== datanet.name))
            }
          >
            {datanet.title || datanet.name}
            <br />
            <span className="quiet small numbers">
              {datanet.name} · {count(datanet.snapshot.size)}
            </span>
          </Checkbox>
        ))}
      </div>
    </Popover>
  );
}

/** Empty text is no number. */
const whole = (text: string): number | null => (/^-?\d+$/.test(text.trim()) ? Number(text) : null);

function Sampling({ how, onChange }: { how: Settings; onChange: (next: Settings) => void }) {
  const set = (part: Partial<Settings>) => onChange({ ...how, ...part });
  return (
    <Popover
      side="top"
      label="Settings"
      trigger={
        <IconButton small label="Settings">
          <SlidersHorizontal size={16} />
        </IconButton>
      }
    >
      <div className="pick pick-wide">
        <h3>How answers are made</h3>
        <Slider
          label="Temperature"
          hint="0 always takes the likeliest word; higher varies more."
          value={how.temperature}
          shown={how.temperature.toFixed(2)}
          min={0}
          max={2}
          step={0.05}
          onChange={(temperature) => set({ temperature })}
        />
        <Slider
          label="Top p"
          hint="Leaves out the least likely words."
          value={how.topP}
          shown={how.topP.toFixed(2)}
          min={0.05}
          max={1}
          step={0.05}
          onChange={(topP) => set({ topP })}
        />
        <Slider
          label="Longest answer"
          value={how.maxTokens}
          shown={`${how.maxTokens} tokens`}
          min={16}
          max={2048}
          step={16}
          onChange={(maxTokens) => set({ maxTokens })}
        />
        <TextField
          label="Seed"
          inputMode="numeric"
          placeholder="Any"
          hint="The same seed and question give the same answer."
          value={how.seed ?? ""}
          onChange={(event) => set({ seed: whole(event.target.value) })}
        />
        <Slider
          label="Passages in the prompt"
          value={how.passages}
          min={1}
          max={20}
          step={1}
          onChange={(passages) => set({ passages })}
        />
        <SelectField
          label="How passages are found"
          value={how.mode}
          onChange={(event) => set({ mode: event.target.value as Settings["mode"] })}
        >
          <option value="hybrid">Meaning and wording</option>
          <option value="vector">Meaning alone</option>
          <option value="full_text">Wording alone</option>
        </SelectField>
        <SelectField
          label="The best passages are read once more"
          value={how.rerank}
          onChange={(event) => set({ rerank: event.target.value as Settings["rerank"] })}
        >
          <option value="none">No</option>
          <option value="late_interaction">Token by token</option>
          <option value="cross_encoder">By the gateway's cross-encoder</option>
        </SelectField>
        <TextArea
          label="Instructions"
          placeholder="Such as: answer in two sentences."
          value={how.system}
          onChange={(event) => set({ system: event.target.value })}
        />
      </div>
    </Popover>
  );
}
