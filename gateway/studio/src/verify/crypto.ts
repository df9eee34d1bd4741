//! SHA-256, HMAC-SHA256 and Ed25519, by WebCrypto. Nothing here is secret: it only checks.

import { type Bytes, hex } from "./bytes.ts";

/** The browser lacks what verification needs. It is no verdict on the bundle. */
export class Unsupported extends Error {
  override name = "Unsupported";
}

/** SHA-256. */
export async function sha256(message: Bytes): Promise<Bytes> {
  return new Uint8Array(await subtle().digest("SHA-256", message));
}

/** HMAC-SHA256. */
export async function hmac(key: Bytes, message: Bytes): Promise<Bytes> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await subtle().importKey("raw", key, algorithm, false, ["sign"]);
  return new Uint8Array(await subtle().sign("HMAC", imported, message));
}

/**
 * Whether `signature` is that of the Ed25519 key over `message` (RFC 8032), by the strict rules: neither the key nor
 * the signature's point R has small order, because such a key accepts any message.
 */
export async function ed25519(key: Bytes, signature: Bytes, message: Bytes): Promise<boolean> {
  if (smallOrder(key) || smallOrder(signature.subarray(0, 32))) return false;
  let imported: CryptoKey;
  try {
    imported = await subtle().importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    // A key that is no curve point is refused with a DataError; anything else means that Ed25519 is unknown here.
    if (error instanceof DOMException && error.name === "DataError") return false;
    throw new Unsupported(
      "This browser cannot check Ed25519 signatures. Use Chrome 137, Firefox 130, Safari 17 or a newer one, " +
        "or check the file with the command `cairn verify`.",
    );
  }
  return subtle().verify({ name: "Ed25519" }, imported, signature, message);
}

/** The y coordinates of the points whose order divides 8, in every encoding, without the sign bit. */
const SMALL_ORDER = new Set([
  `00${"00".repeat(31)}`,
  `01${"00".repeat(31)}`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
]);

function smallOrder(point: Uint8Array): boolean {
  const y = Uint8Array.from(point);
  y[31] = (y[31] ?? 0) & 0x7f;
  return SMALL_ORDER.has(hex(y));
}

function subtle(): SubtleCrypto {
  const found = globalThis.crypto?.subtle;
  if (!found) {
    throw new Unsupported(
      "The browser offers cryptography only on pages served over https or from localhost. " +
        "Open the studio there, or check the file with the command `cairn verify`.",
    );
  }
  return found;
}
