import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { LongRecordSchema } from "@berth/api/berth/metadata/v1/database";
import type { AnyValue } from "@berth/core/any";
import type { Namespace } from "@berth/core/namespaces";
import { noLabels } from "@berth/core/labels";
import type { WriteTransaction } from "@berth/database";

import type { RecordPath } from "./record-key.ts";
import { decodeRecordKey, encodeRecordKey, recordRange } from "./record-key.ts";
import type { Table } from "./table.ts";
import { namespaces } from "./tables.ts";

/** One change of a record; without `record` it was deleted. */
export interface Mutation {
  readonly table: Table<unknown>;
  readonly path: RecordPath;
  readonly record?: unknown;
}

/** An event to publish once its transaction is on disk. */
export interface PendingEvent {
  readonly namespace: Namespace;
  readonly topic: string;
  readonly event: AnyValue;
}

/** Reads and writes inside of one update. Reads see the writes of all updates before it, and its own. */
export interface Transaction {
  get<R>(table: Table<R>, path: RecordPath): R | undefined;
  has(table: Table<unknown>, path: RecordPath): boolean;
  /** This writes a record and brings its namespace into being. */
  put<R>(table: Table<R>, path: RecordPath, record: R): void;
  /** This removes a record; none is fine. */
  delete(table: Table<unknown>, path: RecordPath): void;
  /** This returns the records of a namespace, or of one group in it; the first of them where a limit is given. */
  list<R>(table: Table<R>, namespace: string, group?: string, limit?: number): DecodedRecord<R>[];
  /** This publishes an event when the update has been committed. */
  emit<M extends DescMessage>(namespace: Namespace, topic: string, schema: M, event: MessageInitShape<M>): void;
  /** This tells the collector that something may have become garbage. */
  markDirty(): void;
}

/** A record and where it stands. */
export interface DecodedRecord<R> {
  readonly path: RecordPath;
  readonly record: R;
}

/** What an update changes in memory once it is committed. */
export interface Changes {
  readonly mutations: Mutation[];
  readonly events: PendingEvent[];
  dirty: boolean;
}

/** {@link Transaction} over entries of the database. */
export class RecordTransaction implements Transaction {
  readonly #entries: WriteTransaction;
  readonly #changes: Changes;

  /** What is done goes to `changes`. */
  constructor(entries: WriteTransaction, changes: Changes) {
    this.#entries = entries;
    this.#changes = changes;
  }

  get<R>(table: Table<R>, path: RecordPath): R | undefined {
    const { key } = encodeRecordKey(table.prefix, path);
    const value = this.#entries.get(key);
    return value === undefined ? undefined : decodeRecord(table, key, value).record;
  }

  has(table: Table<unknown>, path: RecordPath): boolean {
    return this.#entries.has(encodeRecordKey(table.prefix, path).key);
  }

  put<R>(table: Table<R>, path: RecordPath, record: R): void {
    if (table.prefix !== namespaces.prefix) this.#ensureNamespace(path.namespace);
    const { key, long } = encodeRecordKey(table.prefix, path);
    const value = table.encode(record);
    this.#entries.put(
      key,
      long ? toBinary(LongRecordSchema, create(LongRecordSchema, { ...path, record: value })) : value,
    );
    this.#changes.mutations.push({ table, path, record });
  }

  delete(table: Table<unknown>, path: RecordPath): void {
    this.#entries.remove(encodeRecordKey(table.prefix, path).key);
    this.#changes.mutations.push({ table, path });
  }

  list<R>(table: Table<R>, namespace: string, group?: string, limit = Infinity): DecodedRecord<R>[] {
    const range = Iterator.from(this.#entries.range(recordRange(table.prefix, namespace, group)));
    return Array.from(range.take(limit), ({ key, value }) => decodeRecord(table, key, value));
  }

  emit<M extends DescMessage>(namespace: Namespace, topic: string, schema: M, event: MessageInitShape<M>): void {
    const value = toBinary(schema, create(schema, event));
    this.#changes.events.push({ namespace, topic, event: { typeUrl: schema.typeName, value } });
  }

  markDirty(): void {
    this.#changes.dirty = true;
  }

  #ensureNamespace(namespace: string): void {
    const path = namespacePath(namespace);
    if (!this.#entries.has(encodeRecordKey(namespaces.prefix, path).key)) this.put(namespaces, path, noLabels);
  }
}

/** This returns where the record of a namespace itself stands. */
export function namespacePath(namespace: string): RecordPath {
  return { namespace, group: "", key: "" };
}

/** This reads an entry of the database, whichever way its path is kept. */
export function decodeRecord<R>(table: Table<R>, key: Uint8Array, value: Uint8Array): DecodedRecord<R> {
  const path = decodeRecordKey(key);
  if (path !== undefined) return { path, record: table.decode(value, path) };
  const { namespace, group, key: longKey, record } = fromBinary(LongRecordSchema, value);
  const longPath = { namespace, group, key: longKey };
  return { path: longPath, record: table.decode(record, longPath) };
}
