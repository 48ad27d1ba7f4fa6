import type { CallOptions } from "@berth/core/any";
import type { Namespace } from "@berth/core/namespaces";

import type { MetadataDatabase } from "../database/metadata-database.ts";
import type { RecordPath } from "../database/record-key.ts";

/** What the stores of one view of a namespace have in common. */
export interface Scope {
  readonly database: MetadataDatabase;
  readonly namespace: Namespace;
  /** The lease that takes what is made through this view. */
  readonly lease: string | undefined;
  /** This resolves when a collection that began after the call has ended. */
  collect(options: CallOptions): Promise<void>;
}

/** This returns the place of a record in the namespace of a view. */
export function pathIn({ namespace }: Pick<Scope, "namespace">, key: string, group = ""): RecordPath {
  return { namespace, group, key };
}
