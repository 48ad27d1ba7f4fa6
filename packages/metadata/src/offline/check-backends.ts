import { createHash } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { ContentInfo, ContentStore } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import type { Digest } from "@berth/oci";
import { digestAlgorithm, digestHex } from "@berth/oci";

import { blobs, ingests } from "../database/tables.ts";
import type { Finding } from "./finding.ts";
import type { OfflineDatabase } from "./offline-database.ts";
import { unknownObject } from "./unknown-object.ts";

/** Whether every byte is read. */
export interface VerifyOptions extends CallOptions {
  readonly verify?: boolean;
}

/** This holds the records of blobs against their bytes. */
export async function* checkContent(
  database: OfflineDatabase,
  content: ContentStore,
  { verify = false, signal }: VerifyOptions,
): AsyncIterable<Finding> {
  const { index } = database;
  const stored = new Map<Digest, Pick<ContentInfo, "size" | "createdAt">>();
  const broken = new Set<Digest>();
  for await (const { digest, size, createdAt } of content.list({ signal })) {
    stored.set(digest, { size, createdAt });
    if (!verify || (await hasItsDigest(content, digest, signal))) continue;
    broken.add(digest);
    yield {
      severity: "error",
      kind: "wrong-digest",
      subject: `blob ${digest}`,
      detail: "its bytes have another digest: pull again whatever needs it",
      repair: {
        action: "remove the blob and its records",
        prepare: () => content.delete(digest),
        change: (tx) => {
          for (const { namespace } of index.buckets(blobs)) tx.delete(blobs, { namespace, group: "", key: digest });
        },
      },
    };
  }
  const known = new Set<Digest>();
  for (const bucket of index.buckets(blobs)) {
    for (const [, { digest, size }] of bucket.entries()) {
      known.add(digest);
      const found = stored.get(digest)?.size;
      if (found === size || broken.has(digest)) continue;
      yield wrongBlob(bucket.namespace, digest, found, size);
    }
  }
  for (const bucket of index.buckets(ingests)) {
    for (const [, { expected }] of bucket.entries()) if (expected !== undefined) known.add(expected);
  }
  for (const [digest, { size, createdAt }] of stored) {
    if (known.has(digest)) continue;
    yield unknownObject(database, { kind: "unknown-blob", subject: `blob ${digest}`, createdAt, size });
  }
}

function wrongBlob(namespace: string, digest: Digest, found: number | undefined, size: number): Finding {
  const detail = found === undefined ? "its bytes are not there" : `it has ${found} bytes instead of ${size}`;
  return {
    severity: "error",
    kind: found === undefined ? "missing-blob" : "damaged-blob",
    namespace,
    subject: `content ${digest}`,
    detail: `${detail}: pull again whatever needs it`,
    // Without its record it is fetched again; what is left of it is taken by the collector.
    repair: { action: "remove the record", change: (tx) => tx.delete(blobs, { namespace, group: "", key: digest }) },
  };
}

async function hasItsDigest(content: ContentStore, digest: Digest, signal: AbortSignal | undefined): Promise<boolean> {
  const hash = createHash(digestAlgorithm(digest));
  for await (const chunk of streamBlob(content, digest, { signal })) hash.update(chunk);
  return hash.digest("hex") === digestHex(digest);
}
