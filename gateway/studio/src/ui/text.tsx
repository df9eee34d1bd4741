// Numbers, times and hashes, written the same way everywhere.
import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { announce } from "./announce";
import { IconButton } from "./button";

const whole = new Intl.NumberFormat("en");
const short = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const toMinute = new Intl.DateTimeFormat("en", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hour12: false,
});
const full = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });

export function count(number: number): string {
  return whole.format(number);
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${whole.format(number)} ${number === 1 ? one : many}`;
}

export function bytes(number: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = number;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function date(text: string): string {
  const parsed = new Date(text);
  return Number.isNaN(parsed.getTime()) ? text : short.format(parsed);
}

/** Day and time of day, for what has a deadline. */
export function moment(text: string): string {
  const parsed = new Date(text);
  return Number.isNaN(parsed.getTime()) ? text : toMinute.format(parsed);
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** "3 hours ago", with the exact time for those who look closer. */
export function Ago({ at }: { at: string }) {
  const parsed = new Date(at);
  const seconds = (parsed.getTime() - Date.now()) / 1000;
  const step = STEPS.find(([, size]) => Math.abs(seconds) >= size);
  const far = Math.abs(seconds) > 30 * 86_400;
  const text = far ? date(at) : step ? relative.format(Math.round(seconds / step[1]), step[0]) : "just now";
  return (
    <time dateTime={at} title={full.format(parsed)}>
      {text}
    </time>
  );
}

/** Copies, and says so: by a tick, and aloud for those who do not see it. */
function useCopy(text: string, what: string): { copied: boolean; copy: () => Promise<void> } {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      announce(`${what} could not be copied: the browser does not allow it`);
      return;
    }
    setCopied(true);
    announce(`${what}: copied`);
    setTimeout(() => setCopied(false), 1500);
  };
  return { copied, copy };
}

/** A hash by its first digits; choosing it copies all of it. */
export function Hash({ value, label, digits = 12 }: { value: string; label: string; digits?: number }) {
  const { copied, copy } = useCopy(value, label);
  return (
    <button type="button" className="hash" onClick={copy} title={value}>
      <span className="hidden-visually">Copy {label} </span>
      {value.length > digits ? `${value.slice(0, digits)}…` : value}
      {copied ? <Check size={11} aria-hidden /> : <Copy size={11} aria-hidden />}
    </button>
  );
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const { copied, copy } = useCopy(text, label);
  return (
    <IconButton small label={copied ? "Copied" : label} onClick={copy}>
      {copied ? <Check size={15} /> : <Copy size={15} />}
    </IconButton>
  );
}
