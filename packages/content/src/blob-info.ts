import type { Stats } from "node:fs";

import type { ContentInfo } from "@berth/core/content";
import { noLabels } from "@berth/core/labels";
import type { Digest } from "@berth/oci";

/** This describes a blob by its file: created when last modified, updated when last accessed, as containerd has it. */
export function blobInfo(digest: Digest, file: Stats): ContentInfo {
  return {
    digest,
    size: file.size,
    createdAt: Math.floor(file.mtimeMs),
    updatedAt: Math.floor(file.atimeMs),
    labels: noLabels,
  };
}
