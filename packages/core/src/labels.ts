import { invalidArgument } from "@berth/errors";

/** Names and values that users put on objects. A map, because a record would lose a label called `__proto__`. */
export type Labels = ReadonlyMap<string, string>;

/** The most bytes that the key and the value of one label may have together. */
export const MAX_LABEL_BYTES = 4096;

/** No labels. */
export const noLabels: Labels = new Map();

/**
 * This checks the size of each label.
 *
 * @throws invalid_argument - key and value of a label have more than 4096 bytes together
 * @see containerd pkg/labels, Validate
 */
export function validateLabels(labels: Labels): void {
  for (const [key, value] of labels) {
    if (Buffer.byteLength(key) + Buffer.byteLength(value) > MAX_LABEL_BYTES) {
      const shown = key.length > 64 ? `${key.slice(0, 64)}…` : key;
      throw invalidArgument(`label key and value length exceed ${MAX_LABEL_BYTES} bytes, key ${JSON.stringify(shown)}`);
    }
  }
}

/** This copies the map field of a protobuf message. */
export function fromProtoLabels(labels: Readonly<Record<string, string>>): Labels {
  return new Map(Object.entries(labels));
}

/** This makes the map field of a protobuf message; no prototype, so that every key survives. */
export function toProtoLabels(labels: Labels): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [key, value] of labels) result[key] = value;
  return result;
}
