// What the terms' names mean, for people who have not read them.
import type { Schemas } from "../../api/client";

export const ACTORS: [Schemas["Actor"], string][] = [
  ["individual", "a person, for myself"],
  ["academic", "a university or research institute"],
  ["nonprofit", "a non-profit organisation"],
  ["company", "a company"],
  ["government", "a public authority"],
];

/** The same of somebody else. */
export const AS_ACTOR: Record<Schemas["Actor"], string> = {
  individual: "a person",
  academic: "a university or research institute",
  nonprofit: "a non-profit organisation",
  company: "a company",
  government: "a public authority",
};

export const PURPOSES: [Schemas["Purpose"], string][] = [
  ["retrieval", "retrieval: answers may cite it"],
  ["training", "training: adapters may learn from it"],
  ["evaluation", "evaluation: models are measured by it"],
];
