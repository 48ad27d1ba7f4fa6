export type { DatabaseOptions, Sync } from "./database.ts";
export { Database } from "./database.ts";
export { hashKey, MAX_KEY_BYTES } from "./hash-key.ts";
export type { Entry, KeyRange, ReadTransaction, WriteTransaction } from "./write-transaction.ts";
export { checkSchemaVersion } from "./schema-version.ts";
