//! Words for people out of a stranger's file.

import type { Json } from "./canonical.ts";

/**
 * Text with control and direction characters escaped: a file must not be able to turn around the line that says what it
 * proves.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (char) => {
    return `\\u{${char.codePointAt(0)?.toString(16)}}`;
  });
}

/** A value as JSON, cut after 160 characters. */
export function quoted(value: Json): string {
  const characters = Array.from(JSON.stringify(value));
  return characters.length > 160 ? `${characters.slice(0, 160).join("")}…` : characters.join("");
}
