// The roles, and what each opens. The gateway decides; these are its scopes in words.
import type { Schemas } from "../../api/client";

export type Role = Schemas["Role"];

export const ROLES: readonly [Role, string, readonly string[]][] = [
  [
    "app",
    "asks, searches and embeds",
    ["Ask models and search datanets granted to it", "See its own answers’ records and proofs"],
  ],
  [
    "contributor",
    "also adds datapoints",
    [
      "What an application may",
      "Add datapoints to datanets that take them",
      "See every use of what it contributed",
    ],
  ],
  [
    "steward",
    "makes datanets and decides who may use them",
    [
      "What a contributor may",
      "Make datanets, set their terms, grant and revoke",
      "Review contributions and erase datapoints",
    ],
  ],
  [
    "trainer",
    "trains, uploads and publishes adapters",
    [
      "What an application may",
      "Train adapters on datanets granted for it",
      "Upload, publish, share and roll back its adapters",
    ],
  ],
  [
    "auditor",
    "reads every record, the log and the metrics",
    [
      "Read every record, the ledger and the usage",
      "Read the whole log and the metrics",
      "Ask nothing and change nothing",
    ],
  ],
  [
    "replica",
    "another gateway that answers beside this one",
    ["Put the records of its answers into the log", "Ask nothing and see nothing"],
  ],
  [
    "admin",
    "may do everything",
    ["Everything, everyone’s", "Load and unload models", "Make keys, set roles, limits and quotas"],
  ],
];
