import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { LongRecordSchema } from "@berth/api/berth/metadata/v1/database";
import type { AnyValue } from "@berth/core/any";
import type { Namespace } from "@berth/core/namespaces";
import { noLabels } from "@berth/core/labels";
import { internal } from "@berth/errors";
import type { Database } from "lmdb";

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
  /** This returns the records of a namespace, or of one group in it. */
  list<R>(table: Table<R>, namespace: string, group?: string): { readonly path: RecordPath; readonly record: R }[];
  /** This publishes an event when the update has been committed. */
  emit<M extends DescMessage>(namespace: Namespace, topic: string, schema: M, event: MessageInitShape<M>): void;
  /** This tells the collector that something may have become garbage. */
  markDirty(): void;
}

/** {@link Transaction} over an open LMDB write transaction; collects what the commit will change in memory. */
export class LmdbTransaction implements Transaction {
  readonly mutations: Mutation[] = [];
  readonly events: PendingEvent[] = [];
  dirty = false;
  readonly #lmdb: Database<Uint8Array, Uint8Array>;
  #open = true;

  constructor(lmdb: Database<Uint8Array, Uint8Array>) {
    this.#lmdb = lmdb;
  }

  /** After this every call fails: a transaction that was kept would write outside of any. */
  close(): void {
    this.#open = false;
  }

  get<R>(table: Table<R>, path: RecordPath): R | undefined {
    this.#check();
    const { key } = encodeRecordKey(table.prefix, path);
    const value = this.#lmdb.get(key);
    return value === undefined ? undefined : decodeRecord(table, key, value).record;
  }

  has(table: Table<unknown>, path: RecordPath): boolean {
    this.#check();
    return this.#lmdb.doesExist(encodeRecordKey(table.prefix, path).key);
  }

  put<R>(table: Table<R>, path: RecordPath, record: R): void {
    this.#check();
    if (table.prefix !== namespaces.prefix) this.#ensureNamespace(path.namespace);
    const { key, long } = encodeRecordKey(table.prefix, path);
    const value = table.encode(record);
    this.#lmdb.put(
      key,
      long ? toBinary(LongRecordSchema, create(LongRecordSchema, { ...path, record: value })) : value,
    );
    this.mutations.push({ table, path, record });
  }

  delete(table: Table<unknown>, path: RecordPath): void {
    this.#check();
    this.#lmdb.remove(encodeRecordKey(table.prefix, path).key);
    this.mutations.push({ table, path });
  }

  list<R>(table: Table<R>, namespace: string, group?: string): { readonly path: RecordPath; readonly record: R }[] {
    this.#check();
    const range = this.#lmdb.getRange(recordRange(table.prefix, namespace, group));
    return Array.from(range, ({ key, value }) => decodeRecord(table, key, value));
  }

  emit<M extends DescMessage>(namespace: Namespace, topic: string, schema: M, event: MessageInitShape<M>): void {
    const value = toBinary(schema, create(schema, event));
    this.events.push({ namespace, topic, event: { typeUrl: schema.typeName, value } });
  }

  markDirty(): void {
    this.dirty = true;
  }

  #ensureNamespace(namespace: string): void {
    const path = namespacePath(namespace);
    if (!this.#lmdb.doesExist(encodeRecordKey(namespaces.prefix, path).key)) this.put(namespaces, path, noLabels);
  }

  #check(): void {
    if (!this.#open) throw internal("transaction is over");
  }
}

/** This returns where the record of a namespace itself stands. */
export function namespacePath(namespace: string): RecordPath {
  return { namespace, group: "", key: "" };
}

/** This reads an entry of the database, whichever way its path is kept. */
export function decodeRecord<R>(
  table: Table<R>,
  key: Uint8Array,
  value: Uint8Array,
): { readonly path: RecordPath; readonly record: R } {
  const path = decodeRecordKey(key);
  if (path !== undefined) return { path, record: table.decode(value, path) };
  const { namespace, group, key: longKey, record } = fromBinary(LongRecordSchema, value);
  const longPath = { namespace, group, key: longKey };
  return { path: longPath, record: table.decode(record, longPath) };
}
