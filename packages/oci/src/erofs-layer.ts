import { createHash } from "node:crypto";

import type { Digest } from "./digest.ts";

/** Type of a layer that is an EROFS image instead of an archive. */
export const EROFS_LAYER = "application/vnd.erofs.layer.v1";

/** The namespace of URLs of RFC 9562. */
const URL_NAMESPACE = Buffer.from("6ba7b8119dad11d180b400c04fd430c8", "hex");

/** This says whether the type is a layer in EROFS form, whatever its compression. */
export function isErofsLayer(mediaType: string): boolean {
  return mediaType.startsWith("application/vnd.erofs.layer");
}

/** This returns the UUID of the EROFS image that is made of a layer, a version 5 one of its digest: the same layer gives the same image. */
export function erofsUuid(digest: Digest): string {
  const bytes = createHash("sha1").update(URL_NAMESPACE).update(`erofs:blobs/${digest}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x50;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** So long one run of mkfs.erofs may take: minutes per gigabyte on a slow disk, and then some. */
export const MKFS_EROFS_MS = 60 * 60_000;

/**
 * This returns the arguments by which mkfs.erofs makes the image of a layer of the archive that it reads, or with `i` an index of it. Blocks have
 * the size that machines with any size of pages mount, where the options name none.
 */
export function erofsArguments(
  mode: "f" | "i",
  path: string,
  { options, uuidOf }: { readonly options: readonly string[]; readonly uuidOf: Digest },
): readonly string[] {
  const blocks = options.some((option) => option.startsWith("-b")) ? [] : ["-b4096"];
  return [
    `--tar=${mode}`,
    "--aufs",
    "--quiet",
    "-Enoinline_data",
    ...blocks,
    ...options,
    "-U",
    erofsUuid(uuidOf),
    path,
  ];
}
