import type { Image } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import type { ConvertOptions } from "@berth/images";
import { convertImage as convertContents } from "@berth/images";

import type { Client } from "./client.ts";
import { holdImage } from "./hold-image.ts";
import { storeImage } from "./store-image.ts";

/** Options of {@link convertImage}. */
export interface ConvertImageOptions extends Omit<ConvertOptions, "content"> {
  /** Of the new image; those of the old when absent. */
  readonly labels?: Labels;
}

/**
 * This makes another image of one of the daemon's, under another name or the same: see `convertImage` of `@berth/images`. Layers that change are read and written over the connection.
 *
 * @throws not_found - no such image; as `convertImage`
 */
export async function convertImage(
  client: Client,
  source: string,
  name: string,
  options: ConvertImageOptions = {},
): Promise<Image> {
  const { signal } = options;
  await using lease = await client.lease({ signal });
  const { content, images } = lease.client;
  const { target, labels } = await holdImage(lease, source, { signal });
  const converted = await convertContents(target, { ...options, content });
  return await storeImage(images, { name, target: converted, labels: options.labels ?? labels }, { signal });
}
