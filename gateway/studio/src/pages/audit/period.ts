// Days as readers choose them: they stand for their beginning in UTC, and the last one is meant whole.

/** The day after one such as `2026-11-30`; nothing where it is none. */
export function dayAfter(day: string): string {
  const start = Date.parse(`${day}T00:00:00Z`);
  return Number.isNaN(start) ? "" : new Date(start + 86_400_000).toISOString().slice(0, 10);
}
