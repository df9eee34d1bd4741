// Rows to mend as a file.
import assert from "node:assert/strict";
import { test } from "node:test";
import { asCsv } from "./rejected.ts";

test("reasons are quoted, and are no formulas", () => {
  const rows = [
    { line: 5, reason: 'there is no "text", or none' },
    { line: 0, reason: "=1+1\nis no text" },
  ];
  assert.equal(asCsv(rows), 'line,reason\r\n5,"there is no ""text"", or none"\r\n,"\'=1+1\nis no text"\r\n');
  assert.equal(asCsv([]), "line,reason\r\n");
});
