import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DatabaseHeader } from "@berth/api/berth/metadata/v1/database";
import { DatabaseHeaderSchema } from "@berth/api/berth/metadata/v1/database";
import type { Database, WriteTransaction } from "@berth/database";

const HEADER_KEY = Uint8Array.of(0);
/** Address space, not memory: the file grows as needed. */
export const MAP_SIZE_BYTES = 64 * 1024 ** 3;

/** The beginning of a database in whose place another one was. */
export interface DatabaseBeginning {
  /** The first number to give out. */
  readonly firstSequence: bigint;
  /** When it was made over what backends held, milliseconds since 1970. */
  readonly madeOverBackendsAt: number;
}

/** This reads the header, `undefined` of a database that holds nothing yet. */
export function readHeader(database: Database): DatabaseHeader | undefined {
  const bytes = database.get(HEADER_KEY);
  return bytes === undefined ? undefined : fromBinary(DatabaseHeaderSchema, bytes);
}

/** This makes the header of a new database. */
export function newHeader(schemaVersion: number, beginning?: DatabaseBeginning): DatabaseHeader {
  if (beginning === undefined) return create(DatabaseHeaderSchema, { schemaVersion });
  const { firstSequence, madeOverBackendsAt } = beginning;
  return create(DatabaseHeaderSchema, {
    schemaVersion,
    sequenceLimit: firstSequence,
    madeOverBackendsAt: BigInt(madeOverBackendsAt),
  });
}

/** This writes the header. */
export function putHeader(entries: WriteTransaction, header: DatabaseHeader): void {
  entries.put(HEADER_KEY, toBinary(DatabaseHeaderSchema, header));
}
