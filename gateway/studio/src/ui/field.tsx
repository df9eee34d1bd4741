// Form fields: a visible label, a hint, and the error read out with the field.
import { Checkbox as BaseCheckbox } from "@base-ui/react/checkbox";
import { Slider as BaseSlider } from "@base-ui/react/slider";
import { Switch as BaseSwitch } from "@base-ui/react/switch";
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { Check } from "lucide-react";
import { type ComponentProps, type ReactNode, useId } from "react";

interface Labelled {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
}

function Shell({ id, label, hint, error, children }: Labelled & { id: string; children: ReactNode }) {
  return (
    <div className="field">
      <label className="field-label" htmlFor={id}>
        {label}
      </label>
      {children}
      {hint && (
        <div className="field-hint" id={`${id}-hint`}>
          {hint}
        </div>
      )}
      {error && (
        <div className="field-error" id={`${id}-error`}>
          {error}
        </div>
      )}
    </div>
  );
}

function described(id: string, { hint, error }: Labelled): string | undefined {
  return [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
}

export function TextField({ label, hint, error, ...rest }: ComponentProps<"input"> & Labelled) {
  const id = useId();
  const own = { label, hint, error };
  return (
    <Shell id={id} {...own}>
      <input
        className="input"
        autoComplete="off"
        {...rest}
        id={id}
        aria-describedby={described(id, own)}
        aria-invalid={error ? true : undefined}
      />
    </Shell>
  );
}

export function TextArea({ label, hint, error, ...rest }: ComponentProps<"textarea"> & Labelled) {
  const id = useId();
  const own = { label, hint, error };
  return (
    <Shell id={id} {...own}>
      <textarea className="input" {...rest} id={id} aria-describedby={described(id, own)} />
    </Shell>
  );
}

/** The browser's own select: it works with every keyboard, screen reader and phone. */
export function SelectField({ label, hint, error, children, ...rest }: ComponentProps<"select"> & Labelled) {
  const id = useId();
  const own = { label, hint, error };
  return (
    <Shell id={id} {...own}>
      <select className="input" {...rest} id={id} aria-describedby={described(id, own)}>
        {children}
      </select>
    </Shell>
  );
}

export function Checkbox({
  checked,
  onChange,
  children,
}: {
  checked: boolean;
  onChange: (checked: boolean) => void;
  children: ReactNode;
}) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the checkbox inside renders a native input
    <label className="check">
      <BaseCheckbox.Root className="checkbox" checked={checked} onCheckedChange={onChange}>
        <BaseCheckbox.Indicator>
          <Check size={13} strokeWidth={3} aria-hidden />
        </BaseCheckbox.Indicator>
      </BaseCheckbox.Root>
      <span>{children}</span>
    </label>
  );
}

export function Switch({
  label,
  checked,
  onChange,
}: {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the switch inside renders a native input
    <label className="check">
      <BaseSwitch.Root className="switch" checked={checked} onCheckedChange={onChange}>
        <BaseSwitch.Thumb className="switch-thumb" />
      </BaseSwitch.Root>
      <span>{label}</span>
    </label>
  );
}

export function Slider({
  label,
  value,
  onChange,
  onCommit,
  min,
  max,
  step,
  shown,
  hint,
}: {
  label: string;
  value: number;
  onChange: (value: number) => void;
  onCommit?: (value: number) => void;
  min: number;
  max: number;
  step: number;
  shown?: string;
  hint?: ReactNode;
}) {
  return (
    <BaseSlider.Root
      className="field"
      value={value}
      min={min}
      max={max}
      step={step}
      onValueChange={(next) => onChange(next)}
      {...(onCommit ? { onValueCommitted: (next: number) => onCommit(next) } : {})}
    >
      <div className="row">
        <BaseSlider.Label className="field-label">{label}</BaseSlider.Label>
        <span className="push small numbers quiet">{shown ?? value}</span>
      </div>
      <BaseSlider.Control className="slider-control">
        <BaseSlider.Track className="slider-track">
          <BaseSlider.Indicator className="slider-fill" />
          <BaseSlider.Thumb className="slider-thumb" />
        </BaseSlider.Track>
      </BaseSlider.Control>
      {hint && <div className="field-hint">{hint}</div>}
    </BaseSlider.Root>
  );
}

/** One of a few, side by side. */
export function Segments<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <ToggleGroup
      className="segments"
      aria-label={label}
      value={[value]}
      onValueChange={([next]) => next && onChange(next as T)}
    >
      {options.map(([option, text]) => (
        <Toggle key={option} value={option} className="segment">
          {text}
        </Toggle>
      ))}
    </ToggleGroup>
  );
}
