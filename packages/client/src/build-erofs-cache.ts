import type { ErofsCacheOptions } from "@berth/images";
import { buildErofsCache as buildCache } from "@berth/images";

import type { Client } from "./client.ts";
import { holdImage } from "./hold-image.ts";

/** Options of {@link buildErofsCache}. */
export type BuildErofsCacheOptions = Omit<ErofsCacheOptions, "content">;

/**
 * This makes EROFS images of an image's layers in a directory of this machine, for the caches of the EROFS snapshotter: see `buildErofsCache` of `@berth/images`. Layers are read over the connection.
 *
 * @throws not_found - no such image; as `buildErofsCache`
 */
export async function buildErofsCache(
  client: Client,
  name: string,
  directory: string,
  options: BuildErofsCacheOptions,
): Promise<void> {
  const { signal } = options;
  await using lease = await client.lease({ signal });
  const { target } = await holdImage(lease, name, { signal });
  await buildCache(target, directory, { ...options, content: lease.client.content });
}
