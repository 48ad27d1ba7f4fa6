import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { MountStoreHeaderSchema } from "@berth/api/berth/mounts/v1/activation";
import { type Logger, silentLogger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import { checkSchemaVersion, Database, hashKey, MAX_KEY_BYTES, type WriteTransaction } from "@berth/database";

import type { Activation } from "./activation.ts";
import { decodeActivation, encodeActivation } from "./activation-record.ts";

const SCHEMA_VERSION = 1;
/** Address space, not memory: the file grows as needed. */
const MAP_SIZE_BYTES = 1024 ** 3;
const HEADER_KEY = Uint8Array.of(0);
const RECORD_PREFIX = 1;
const HASHED_PREFIX = 2;
const RECORD_RANGE = { start: Uint8Array.of(RECORD_PREFIX), end: Uint8Array.of(HASHED_PREFIX + 1) };

/** Options of {@link ActivationStore.open}. */
export interface ActivationStoreOptions {
  /** Path of the database file. */
  readonly path: string;
  readonly log?: Logger;
  /** Called once when the file cannot be trusted any more. */
  readonly fatal?: (error: Error) => void;
}

/** Activations in one LMDB file, with a picture of them in memory that has a change when its promise resolves. */
export class ActivationStore implements AsyncDisposable {
  readonly #database: Database;
  readonly #namespaces = new Map<Namespace, Map<string, Activation>>();
  #lastId: number;

  private constructor(database: Database) {
    const header = fromBinary(MountStoreHeaderSchema, database.get(HEADER_KEY) ?? new Uint8Array(0));
    checkSchemaVersion(database.path, header.schemaVersion, SCHEMA_VERSION);
    this.#database = database;
    this.#lastId = Number(header.lastId);
    for (const { value } of database.range(RECORD_RANGE)) this.#show(decodeActivation(value));
  }

  /** This opens a file, or makes it. @throws failed_precondition - it was written by a newer version */
  static async open(options: ActivationStoreOptions): Promise<ActivationStore> {
    const { path, log = silentLogger, fatal = () => {} } = options;
    await using opened = new AsyncDisposableStack();
    const database = opened.use(await Database.open({ path, log, fatal, mapSizeBytes: MAP_SIZE_BYTES }));
    const store = new ActivationStore(database);
    opened.move();
    return store;
  }

  /** The highest id that was ever put. */
  get lastId(): number {
    return this.#lastId;
  }

  find(namespace: Namespace, name: string): Activation | undefined {
    return this.#namespaces.get(namespace)?.get(name);
  }

  /** This lists the activations of a namespace in order of their names. */
  list(namespace: Namespace): Activation[] {
    const found = [...(this.#namespaces.get(namespace)?.values() ?? [])];
    return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** This lists the activations of all namespaces as they are now. */
  all(): Activation[] {
    return this.#namespaces
      .values()
      .flatMap((names) => names.values())
      .toArray();
  }

  /** This stores an activation durably. @throws resource_exhausted - the disk is full; nothing is stored */
  async put(activation: Activation): Promise<void> {
    this.#lastId = Math.max(this.#lastId, activation.id);
    await this.#database.update((tx) => {
      tx.put(recordKey(activation), encodeActivation(activation));
      putHeader(tx, this.#lastId);
    });
    this.#show(activation);
  }

  /** This forgets an activation; one that is not there is fine. */
  async remove({ namespace, name }: Activation): Promise<void> {
    await this.#database.update((tx) => tx.remove(recordKey({ namespace, name })));
    const names = this.#namespaces.get(namespace);
    names?.delete(name);
    if (names?.size === 0) this.#namespaces.delete(namespace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }

  #show(activation: Activation): void {
    const names = this.#namespaces.get(activation.namespace) ?? new Map<string, Activation>();
    this.#namespaces.set(activation.namespace, names.set(activation.name, activation));
  }
}

function putHeader(tx: WriteTransaction, lastId: number): void {
  const header = create(MountStoreHeaderSchema, { schemaVersion: SCHEMA_VERSION, lastId: BigInt(lastId) });
  tx.put(HEADER_KEY, toBinary(MountStoreHeaderSchema, header));
}

/** Neither a namespace nor the kind of a key can be mistaken for another: the former is no longer than a byte says. */
function recordKey({ namespace, name }: { readonly namespace: Namespace; readonly name: string }): Uint8Array {
  const space = Buffer.from(namespace);
  const bytes = Buffer.from(name);
  const isLong = bytes.length + space.length + 2 > MAX_KEY_BYTES;
  const head = Uint8Array.of(isLong ? HASHED_PREFIX : RECORD_PREFIX, space.length);
  return Buffer.concat([head, space, isLong ? hashKey(bytes) : bytes]);
}
