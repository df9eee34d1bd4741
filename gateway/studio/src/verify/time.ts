//! Times in entries: RFC 3339 in UTC, up to nine decimals. The calendar is not checked.

const FORM = /^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z$/;

/** Whether a time has the form `YYYY-MM-DDThh:mm:ss[.f…]Z`. */
export function isUtc(time: string): boolean {
  return FORM.test(time);
}

/** Whether one such time is before another. */
export function isBefore(a: string, b: string): boolean {
  return instant(a) < instant(b);
}

/** A text that sorts as the time does. */
function instant(time: string): string {
  const [, whole = time, fraction = ""] = FORM.exec(time) ?? [];
  return `${whole}.${fraction.padEnd(9, "0")}`;
}
