import { hashKey, MAX_KEY_BYTES } from "@berth/database";

/** Where a record stands within its table. */
export interface RecordPath {
  readonly namespace: string;
  /** What groups records within a namespace: a snapshotter, a lease; empty for none. */
  readonly group: string;
  readonly key: string;
}

const MAX_GROUP_BYTES = 128;
/** Length byte of a group that is stored under its digest; real groups are shorter. */
const HASHED_GROUP = 0xff;
const LITERAL = 0;
const HASHED = 1;

/**
 * This makes the database key of a record: prefix, namespace, group, and the key or its digest. Different paths have
 * different keys, and all records of a namespace, or of a group in it, share a prefix.
 */
export function encodeRecordKey(
  prefix: number,
  path: RecordPath,
): { readonly key: Uint8Array; readonly long: boolean } {
  const head = groupPrefix(prefix, path.namespace, path.group);
  const key = Buffer.from(path.key, "utf8");
  const long = head.hashed || head.bytes.length + 1 + key.length > MAX_KEY_BYTES;
  const tail = long ? hashKey(key) : key;
  return { key: Buffer.concat([head.bytes, Uint8Array.of(long ? HASHED : LITERAL), tail]), long };
}

/** This returns the path of a literal key, `undefined` for one that only holds digests: the record then carries its path. */
export function decodeRecordKey(key: Uint8Array): RecordPath | undefined {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  const namespaceEnd = 2 + bytes.readUInt8(1);
  const groupLength = bytes.readUInt8(namespaceEnd);
  if (groupLength === HASHED_GROUP) return undefined;
  const groupEnd = namespaceEnd + 1 + groupLength;
  if (bytes.readUInt8(groupEnd) !== LITERAL) return undefined;
  return {
    namespace: bytes.toString("utf8", 2, namespaceEnd),
    group: bytes.toString("utf8", namespaceEnd + 1, groupEnd),
    key: bytes.toString("utf8", groupEnd + 1),
  };
}

/** This returns the first and the past-the-last key of a table, of a namespace in it, or of a group in that. */
export function recordRange(
  prefix: number,
  namespace?: string,
  group?: string,
): { readonly start: Uint8Array; readonly end: Uint8Array } {
  if (namespace === undefined) return { start: Uint8Array.of(prefix), end: Uint8Array.of(prefix + 1) };
  const start = group === undefined ? namespacePrefix(prefix, namespace) : groupPrefix(prefix, namespace, group).bytes;
  return { start, end: successor(start) };
}

function namespacePrefix(prefix: number, namespace: string): Uint8Array {
  const bytes = Buffer.from(namespace, "utf8");
  return Buffer.concat([Uint8Array.of(prefix, bytes.length), bytes]);
}

function groupPrefix(prefix: number, namespace: string, group: string): { bytes: Uint8Array; hashed: boolean } {
  const bytes = Buffer.from(group, "utf8");
  const hashed = bytes.length > MAX_GROUP_BYTES;
  const tail = hashed ? [Uint8Array.of(HASHED_GROUP), hashKey(bytes)] : [Uint8Array.of(bytes.length), bytes];
  return { bytes: Buffer.concat([namespacePrefix(prefix, namespace), ...tail]), hashed };
}

/** The smallest key that is greater than every key beginning with `prefix`. */
function successor(prefix: Uint8Array): Uint8Array {
  const result = Uint8Array.from(prefix);
  for (let index = result.length - 1; index >= 0; index--) {
    const byte = result[index] ?? 0;
    if (byte < 0xff) {
      result[index] = byte + 1;
      return result.subarray(0, index + 1);
    }
  }
  return result;
}
