// Rows that have to be mended, as a table that a spreadsheet opens.

interface Rejection {
  line: number;
  reason: string;
}

export function asCsv(rows: readonly Rejection[]): string {
  const lines = rows.map(({ line, reason }) => [line > 0 ? String(line) : "", cell(reason)].join(","));
  return `${["line,reason", ...lines].join("\r\n")}\r\n`;
}

/** Quoted (RFC 4180), and never taken for a formula: a reason repeats what a stranger's file says. */
function cell(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${harmless.replaceAll('"', '""')}"`;
}
