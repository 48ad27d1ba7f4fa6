import { isOfLostDatabase } from "../gc/backend-key.ts";
import type { Finding } from "./finding.ts";
import type { OfflineDatabase } from "./offline-database.ts";

/** This tells of something in a backend that no namespace knows, and what becomes of it. */
export function unknownObject(
  database: OfflineDatabase,
  object: Pick<Finding, "kind" | "subject"> & { readonly createdAt: number; readonly size?: number },
): Finding {
  const { kind, subject, createdAt, size } = object;
  const fate = isOfLostDatabase(database, createdAt)
    ? "a lost database may have known it, and it is kept until db repair --release-unknown"
    : "the collector removes it";
  const bytes = size === undefined ? "" : ` (${size} bytes)`;
  return { severity: "info", kind, subject, detail: `no namespace knows it${bytes}: ${fate}` };
}

/** This finds whether the collector spares what is older than the database. */
export function* findKept(database: OfflineDatabase): Iterable<Finding> {
  const { path, madeOverBackendsAt } = database;
  if (madeOverBackendsAt === 0) return;
  yield {
    severity: "info",
    kind: "kept-unknown",
    subject: `database ${path}`,
    detail: `what is older than ${new Date(madeOverBackendsAt).toISOString()} is kept, a lost database may have known it`,
    repair: {
      action: "let the collector remove what no namespace knows",
      change: (tx) => tx.releaseUnknown(),
    },
  };
}
