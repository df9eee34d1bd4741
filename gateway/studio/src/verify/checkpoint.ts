//! Public keys and checkpoints (C2SP signed note: the log's Ed25519 signature, then those of witnesses).

import { type Bytes, base64, concat, fromBase64, hex, utf8 } from "./bytes.ts";
import { ed25519, sha256 } from "./crypto.ts";

/** A public key and the log it belongs to, from the line `<origin>+<key id>+<base64>`. */
export interface PublicKey {
  /** The line itself. */
  line: string;
  /** Name of the log. */
  origin: string;
  /** Eight hexadecimal digits that name the key on signature lines. */
  id: string;
  /** The Ed25519 key, 32 bytes. */
  key: Bytes;
}

/** A checkpoint in the right form, whose signature is not checked yet. */
export interface Checkpoint {
  /** Name of the log. */
  origin: string;
  /** Number of entries. */
  size: bigint;
  /** Root hash over them. */
  root: string;
  /** The text that is signed. */
  body: string;
  /** Name on the signature line. */
  signer: string;
  /** Key id on the signature line. */
  keyId: string;
  /** The signature, 64 bytes. */
  signature: Bytes;
  /** The statements of witnesses that they saw no other history of the log, in the order of their names. */
  cosignatures: Cosignature[];
}

/** A witness's signature on a checkpoint (C2SP tlog-cosignature, `cosignature/v1`). */
export interface Cosignature {
  /** Name of the witness. */
  witness: string;
  /** Key id on the signature line. */
  keyId: string;
  /** When it signed, in seconds since 1970 by its own clock. */
  time: bigint;
  /** The signature, 64 bytes. */
  signature: Bytes;
}

/** What a key signs, by the first byte of the key in its line. */
export const LOG_KEY = 1;
export const WITNESS_KEY = 4;

/** Reads a public key line of a log, or of a witness. */
export async function parsePublicKey(line: string, type = LOG_KEY): Promise<PublicKey> {
  const parts = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(line);
  if (!parts) throw new Error("a public key has three parts joined by +: name, key id and key");
  const [origin, id, encoded] = parts.slice(1) as [string, string, string];
  const length = utf8(origin).length;
  if (length < 1 || length > 255 || /[\p{White_Space}\p{Cc}+]/u.test(origin)) {
    throw new Error("the name in the public key is not that of a log: 1 to 255 bytes without spaces");
  }
  const blob = fromBase64(encoded);
  if (blob?.length !== 33 || blob[0] !== type) {
    throw new Error(
      `it is not an Ed25519 public key of this use: 33 bytes of base64 that begin with ${type}`,
    );
  }
  if (hex((await sha256(concat(utf8(`${origin}\n`), blob))).subarray(0, 4)) !== id) {
    throw new Error("the key id in the middle does not fit name and key: the line was changed");
  }
  return { line, origin, id, key: blob.slice(1) };
}

/** Reads a checkpoint, of which there is only one spelling. */
export function parseCheckpoint(text: string): Checkpoint {
  // A stranger's note must not cost more than this.
  if (text.length > 65_536 || text.split("\n").length > 105)
    throw new Error("it is longer than a checkpoint can be");
  const form = /^(.+)\n(0|[1-9][0-9]*)\n(.{44})\n\n\u2014 ([^ \n]*) (.{92})\n(.*)$/su.exec(text);
  if (!form) {
    throw new Error("it must be three lines (origin, size, root), an empty line and signature lines");
  }
  const [origin, size, root, signer, signature, rest] = form.slice(1) as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  if (BigInt(size) >= 1n << 64n) throw new Error(`the size ${size} is beyond 64 bits`);
  const rootBytes = fromBase64(root);
  if (rootBytes?.length !== 32) throw new Error("the root is not base64 of 32 bytes");
  const blob = fromBase64(signature);
  if (blob?.length !== 68) throw new Error("the signature is not base64 of 68 bytes");
  return {
    origin,
    size: BigInt(size),
    root: hex(rootBytes),
    body: `${origin}\n${size}\n${base64(rootBytes)}\n`,
    signer,
    keyId: hex(blob.subarray(0, 4)),
    signature: blob.slice(4),
    cosignatures: parseCosignatures(rest),
  };
}

/** Reads the signature lines of witnesses, which must be in the order of their names and key ids. */
function parseCosignatures(lines: string): Cosignature[] {
  const cosignatures: Cosignature[] = [];
  let last = "";
  for (const line of lines.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    const form = /^\u2014 ([^ \n]*) ([^\n]*)\n$/u.exec(line);
    const [witness, encoded] = (form?.slice(1) ?? ["", ""]) as [string, string];
    const blob = fromBase64(encoded);
    const time = blob?.length === 76 ? new DataView(blob.buffer).getBigUint64(4) : 1n << 63n;
    if (!form || !blob || time >= 1n << 63n) {
      throw new Error("a signature after the log's own is not that of a witness");
    }
    const keyId = hex(blob.subarray(0, 4));
    const order = `${hex(utf8(witness))} ${keyId}`;
    if (order <= last || cosignatures.some((other) => other.keyId === keyId)) {
      throw new Error("its signatures of witnesses are not in order, or one is there twice");
    }
    last = order;
    cosignatures.push({ witness, keyId, time, signature: blob.slice(12) });
  }
  return cosignatures;
}

/** Checks that `key` signed the checkpoint. Throws, saying what differs, if it did not. */
export async function verifyCheckpoint(checkpoint: Checkpoint, key: PublicKey): Promise<void> {
  const { origin, signer, keyId } = checkpoint;
  if (origin !== key.origin || signer !== key.origin || keyId !== key.id) {
    throw new Error(`it is signed by ${signer}+${keyId} for ${origin}, not by ${key.origin}+${key.id}`);
  }
  if (!(await ed25519(key.key, checkpoint.signature, utf8(checkpoint.body)))) {
    throw new Error(`the signature on the checkpoint of ${origin} at size ${checkpoint.size} is wrong`);
  }
}

/** Checks that the witness with this key made the cosignature. Throws if it did not. */
export async function verifyCosignature(
  checkpoint: Checkpoint,
  cosignature: Cosignature,
  key: PublicKey,
): Promise<void> {
  const { witness, keyId, time, signature } = cosignature;
  const message = utf8(`cosignature/v1\ntime ${time}\n${checkpoint.body}`);
  const named = witness === key.origin && keyId === key.id;
  if (!named || !(await ed25519(key.key, signature, message))) {
    throw new Error(`the cosignature of ${key.origin} on the checkpoint at size ${checkpoint.size} is wrong`);
  }
}
