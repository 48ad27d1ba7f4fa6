import { createHash } from "node:crypto";

/** Keys are kept below this by storing what is longer under {@link hashKey}; LMDB itself ends at 1,978. */
export const MAX_KEY_BYTES = 1024;

/** This returns the 32 bytes that stand for a part of a key that is too long; the value must then carry the part itself. */
export function hashKey(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
