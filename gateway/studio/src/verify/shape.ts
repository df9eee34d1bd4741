//! The members that JSON must have: exactly those listed, and each of its kind. Errors name the place.

import { isHash } from "./bytes.ts";
import type { Json } from "./canonical.ts";

/** Takes a JSON value for a `T`, or throws with the place where it is none. */
export type Shape<T> = (value: Json, place: string) => T;

/** The type a shape makes. */
export type Of<S> = S extends Shape<infer T> ? T : never;

type Members = Record<string, Shape<unknown>>;
type Obj<R extends Members, O extends Members> = { [K in keyof R]: Of<R[K]> } & { [K in keyof O]?: Of<O[K]> };

/** A string. */
export const string: Shape<string> = (value, place) => {
  if (typeof value !== "string") throw new Error(`${place}: it must be a string`);
  return value;
};

/** A hash: 64 lower-case hexadecimal digits. */
export const hash: Shape<string> = (value, place) => {
  if (!isHash(value)) throw new Error(`${place}: it must be a hash of 64 lower-case hexadecimal digits`);
  return value;
};

/** An integer from 0; canonical JSON keeps it below 2^53. */
export const count: Shape<number> = (value, place) => {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
    throw new Error(`${place}: it must be an integer, 0 or greater`);
  }
  return value;
};

/** An integer from 0 to 255. */
export const byte: Shape<number> = (value, place) => {
  if (count(value, place) > 255) throw new Error(`${place}: it must be 255 at most`);
  return value as number;
};

/** True or false. */
export const truth: Shape<boolean> = (value, place) => {
  if (typeof value !== "boolean") throw new Error(`${place}: it must be true or false`);
  return value;
};

/** An object with any members. */
export const anyObject: Shape<{ [key: string]: Json }> = (value, place) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${place || "the file"}: it must be an object`);
  }
  return value;
};

/** Any value at all. */
export const any: Shape<Json> = (value) => value;

/** One of some strings. */
export function oneOf<const T extends string>(...choices: T[]): Shape<T> {
  return (value, place) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw new Error(`${place}: it must be ${choices.join(" or ")}`);
    return found;
  };
}

/** `null` or a value of that shape. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value, place) => (value === null ? null : shape(value, place));
}

/** An array of values of that shape. */
export function list<T>(shape: Shape<T>): Shape<T[]> {
  return (value, place) => {
    if (!Array.isArray(value)) throw new Error(`${place}: it must be an array`);
    return value.map((item, i) => shape(item, `${place}[${i}]`));
  };
}

/** An array of at least one such value: none is written by leaving the member out. */
export function filled<T>(shape: Shape<T>): Shape<T[]> {
  return (value, place) => {
    const items = list(shape)(value, place);
    if (items.length === 0) throw new Error(`${place}: it must not be empty`);
    return items;
  };
}

/** An object with all of `required`, any of `optional`, and nothing else. */
export function object<R extends Members, O extends Members = Record<never, never>>(
  required: R,
  optional?: O,
): Shape<Obj<R, O>> {
  const members = new Map(Object.entries({ ...required, ...optional }));
  return (value, place) => {
    const at = (key: string) => (place === "" ? key : `${place}.${key}`);
    const given = anyObject(value, place);
    for (const key of Object.keys(required)) {
      if (!Object.hasOwn(given, key)) throw new Error(`${at(key)}: it is missing`);
    }
    for (const [key, item] of Object.entries(given)) {
      const shape = members.get(key);
      if (!shape) throw new Error(`${at(key)}: there is no such member`);
      shape(item, at(key));
    }
    return given as Obj<R, O>;
  };
}

/** An object of that shape which its member `tag` names. */
export function tagged<S extends Members>(tag: string, shapes: S): Shape<Of<S[keyof S]>> {
  return (value, place) => {
    const named = anyObject(value, place)[tag];
    const shape = typeof named === "string" && Object.hasOwn(shapes, named) ? shapes[named] : undefined;
    if (!shape) throw new Error(`${place}: its ${tag} must be ${Object.keys(shapes).join(" or ")}`);
    return shape(value, place) as Of<S[keyof S]>;
  };
}
