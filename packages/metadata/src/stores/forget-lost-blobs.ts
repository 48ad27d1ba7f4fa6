import { ContentDeleteSchema } from "@berth/api/containerd/events/content";
import type { ContentStore } from "@berth/core/content";
import type { Logger } from "@berth/core/log";
import { parseNamespace } from "@berth/core/namespaces";
import { messageOf } from "@berth/errors";
import type { Digest } from "@berth/oci";

import type { MetadataDatabase } from "../database/metadata-database.ts";
import { blobs } from "../database/tables.ts";

/**
 * This drops the records of blobs that the backend has lost, in every namespace, until the result is disposed: a blob that is found
 * missing is fetched again, one that seems to be there is not. What a lost manifest refers to is left until the next collection.
 */
export function forgetLostBlobs(database: MetadataDatabase, content: ContentStore, log: Logger): Disposable {
  const watch = content.watchLost?.((digest) => {
    forget(database, digest, log).catch((error: unknown) => {
      log.error("failed to drop the records of a lost blob", { digest, error: messageOf(error) });
    });
  });
  return { [Symbol.dispose]: () => watch?.[Symbol.dispose]() };
}

async function forget(database: MetadataDatabase, digest: Digest, log: Logger): Promise<void> {
  const holders = database.index.buckets(blobs).filter((bucket) => bucket.has(digest));
  if (holders.length === 0) return;
  const namespaces = holders.map(({ namespace }) => parseNamespace(namespace));
  await database.update((tx) => {
    for (const namespace of namespaces) {
      tx.delete(blobs, { namespace, group: "", key: digest });
      tx.emit(namespace, "/content/delete", ContentDeleteSchema, { digest });
    }
  });
  log.warn("forgot a blob that the content store has lost", { digest, namespaces: namespaces.join(" ") });
}
