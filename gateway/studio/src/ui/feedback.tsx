// What the reader is told: errors in the gateway's own words, waiting, and what to do where there is nothing yet.
import { CircleAlert, CircleCheck, Info, LoaderCircle, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";

const ICONS = { plain: Info, bad: CircleAlert, warn: TriangleAlert, good: CircleCheck };

export function Note({ tone = "plain", children }: { tone?: keyof typeof ICONS; children: ReactNode }) {
  const Icon = ICONS[tone];
  return (
    <div className={`note note-${tone}`} role={tone === "bad" ? "alert" : undefined}>
      <Icon size={16} aria-hidden />
      <div className="note-body">{children}</div>
    </div>
  );
}

export function ErrorNote({ error }: { error: unknown }) {
  if (!error) return null;
  return <Note tone="bad">{error instanceof Error ? error.message : String(error)}</Note>;
}

export function Spinner({ size = 16 }: { size?: number }) {
  return <LoaderCircle size={size} className="spinner" aria-hidden />;
}

/** Grey lines in the shape of what is coming. */
export function Waiting({ lines = 3 }: { lines?: number }) {
  return (
    <div className="stack-s" role="status">
      <span className="hidden-visually">Loading</span>
      {Array.from({ length: lines }, (_, line) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the lines are all alike and never move
        <div key={line} className="skeleton" style={{ width: `${90 - ((line * 17) % 40)}%` }} />
      ))}
    </div>
  );
}

export function Empty({
  title,
  children,
  action,
}: {
  title: string;
  children: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="empty">
      <h3>{title}</h3>
      <p>{children}</p>
      {action}
    </div>
  );
}

type Tone = "plain" | "good" | "bad" | "warn";

export function Badge({
  tone = "plain",
  dot,
  children,
}: {
  tone?: Tone;
  dot?: boolean;
  children: ReactNode;
}) {
  return (
    <span className={`badge badge-${tone}`}>
      {dot && <span className="dot" aria-hidden />}
      {children}
    </span>
  );
}

/** A bar from 0 to `max`; without a value it moves, because the end is not known. */
export function Bar({ value, max = 1, label }: { value?: number; max?: number; label: string }) {
  if (value === undefined) {
    return (
      <div className="bar bar-busy" role="progressbar" aria-label={label}>
        <div className="bar-fill" />
      </div>
    );
  }
  const part = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  return (
    <div
      className="bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(part * 100)}
    >
      <div className="bar-fill" style={{ width: `${part * 100}%` }} />
    </div>
  );
}
