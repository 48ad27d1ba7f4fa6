import { hashKey, MAX_KEY_BYTES } from "@berth/database";
import { invalidArgument } from "@berth/errors";

/** Where the header of the store is. */
export const HEADER_KEY = Uint8Array.of(0);

const PLAIN = 1;
const HASHED = 2;

/** The range of all keys of snapshots. */
export const SNAPSHOT_RANGE = { start: Uint8Array.of(PLAIN), end: Uint8Array.of(HASHED + 1) };

/**
 * This makes the database key of a snapshot: its text, or its hash where the text is too long; the record has the text.
 *
 * @throws invalid_argument - the text is empty, or nothing that UTF-8 can hold
 */
export function snapshotKey(key: string): Uint8Array {
  if (key === "") throw invalidArgument("snapshot key must not be empty");
  if (!key.isWellFormed()) throw invalidArgument(`snapshot key ${JSON.stringify(key)} is not valid unicode`);
  const text = new TextEncoder().encode(key);
  return text.length <= MAX_KEY_BYTES ? prefixed(PLAIN, text) : prefixed(HASHED, hashKey(text));
}

function prefixed(prefix: number, rest: Uint8Array): Uint8Array {
  const result = new Uint8Array(rest.length + 1);
  result[0] = prefix;
  result.set(rest, 1);
  return result;
}
