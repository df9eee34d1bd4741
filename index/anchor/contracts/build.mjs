// Compiles CheckpointAnchor.sol and writes CheckpointAnchor.json (ABI, bytecode, what it was compiled with).
//
//   npm ci && npm run build      writes the file
//   npm run check                compares instead, and fails when it would change
//
// The compiler is the one pinned in package-lock.json, compiled to WebAssembly, so every machine gets the same bytes. No
// metadata hash is appended, so comments do not change the bytecode.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const file = "CheckpointAnchor.sol";
const settings = {
  evmVersion: "paris", // the last without PUSH0, which some chains still lack
  optimizer: { enabled: true, runs: 10000 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.methodIdentifiers"] } },
};
const input = { language: "Solidity", sources: { [file]: { content: readFileSync(here(file), "utf8") } }, settings };
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const problem of output.errors ?? []) console.error(problem.formattedMessage);
if (output.errors?.length) process.exit(1);

const { abi, evm } = output.contracts[file].CheckpointAnchor;
const { outputSelection, ...used } = settings;
const artifact = {
  compiler: solc.version(),
  settings: used,
  methodIdentifiers: evm.methodIdentifiers,
  bytecode: `0x${evm.bytecode.object}`,
  deployedBytecode: `0x${evm.deployedBytecode.object}`,
  abi,
};
const text = JSON.stringify(artifact, null, 2) + "\n";
const target = here("CheckpointAnchor.json");
if (process.argv.includes("--check")) {
  if (readFileSync(target, "utf8") !== text) {
    console.error("CheckpointAnchor.json is not what CheckpointAnchor.sol compiles to: run npm run build");
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
