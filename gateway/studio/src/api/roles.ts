// What each role may do, as the gateway's scopes have it. Only hides what would be refused: the gateway decides.
import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "./client";
import { me } from "./queries";

type Role = Schemas["Role"];

const SCOPES = {
  applications: ["admin", "steward", "contributor", "trainer", "app"],
  stewards: ["admin", "steward"],
  contributors: ["admin", "steward", "contributor"],
  trainers: ["admin", "trainer"],
  auditors: ["admin", "auditor"],
  administrators: ["admin"],
} as const satisfies Record<string, readonly Role[]>;

export type Scope = keyof typeof SCOPES;

export interface Caller {
  subject: string;
  roles: Role[];
  may(scope: Scope): boolean;
}

/** Who is signed in, once the gateway has said so. */
export function useCaller(): Caller | undefined {
  const { data } = useQuery(me);
  if (!data) return undefined;
  return {
    subject: data.subject,
    roles: data.roles,
    may: (scope) => data.roles.some((role) => (SCOPES[scope] as readonly Role[]).includes(role)),
  };
}
