//! Verification of proof bundles in the browser, independent of any server and of the Rust implementation.

import "./verify.css";

export { BundleDrop } from "./BundleDrop.tsx";
export type { Bundle, DatapointProof } from "./bundle.ts";
export { parseCheckpoint, parsePublicKey, verifyCheckpoint } from "./checkpoint.ts";
export { type Entry, parseEntry } from "./entry.ts";
export { verifyConsistency } from "./merkle.ts";
export { parseKeyFile } from "./trust.ts";
export { VerifySteps } from "./VerifySteps.tsx";
export { parseBundle, type Status, type Step, type Verification, verifyBundle } from "./verify.ts";
