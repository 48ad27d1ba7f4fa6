import { namespacePath } from "../database/transaction.ts";
import { allTables, namespaces } from "../database/tables.ts";
import type { OfflineDatabase } from "./offline-database.ts";

/** A record as JSON: values as protobuf writes them in JSON. */
export interface ExportedRecord {
  readonly table: string;
  readonly namespace: string;
  /** Snapshotter of a snapshot, lease of a resource. */
  readonly group?: string;
  readonly key?: string;
  readonly value: unknown;
}

/** This yields every record that can be read, by table and namespace. */
export function* exportRecords({ index }: OfflineDatabase): Iterable<ExportedRecord> {
  for (const table of allTables) {
    for (const bucket of index.buckets(table)) {
      const { namespace, group } = bucket;
      for (const [key, record] of bucket.entries()) {
        const place = {
          ...(group === "" ? {} : { group }),
          ...(key === namespacePath(namespace).key && table.prefix === namespaces.prefix ? {} : { key }),
        };
        yield { table: table.name, namespace, ...place, value: table.toJson(record) };
      }
    }
  }
}
