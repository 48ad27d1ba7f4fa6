import type { DescMessage, JsonValue, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, toBinary, toJson } from "@bufbuild/protobuf";

import type { RecordPath } from "./record-key.ts";

/** One kind of record: how it is written and read. */
export interface Table<R> {
  readonly name: string;
  /** First byte of the keys; never reused for another kind. */
  readonly prefix: number;
  encode(record: R): Uint8Array;
  decode(bytes: Uint8Array, path: RecordPath): R;
  /** This returns what protobuf makes of the record in JSON. */
  toJson(record: R): JsonValue;
}

/** What {@link defineTable} takes. */
export interface TableDefinition<R, M extends DescMessage> {
  readonly name: string;
  readonly prefix: number;
  readonly schema: M;
  toMessage(record: R): MessageShape<M>;
  fromMessage(message: MessageShape<M>, path: RecordPath): R;
}

/** This makes a table whose values are protobuf messages. */
export function defineTable<R, M extends DescMessage>(definition: TableDefinition<R, M>): Table<R> {
  const { name, prefix, schema } = definition;
  return {
    name,
    prefix,
    encode: (record) => toBinary(schema, definition.toMessage(record)),
    decode: (bytes, path) => definition.fromMessage(fromBinary(schema, bytes), path),
    toJson: (record) => toJson(schema, definition.toMessage(record)),
  };
}
