import { invalidArgument } from "@berth/errors";
import type { ExportOptions, ImageToExport } from "@berth/images";
import { exportArchive } from "@berth/images";

import type { Client } from "./client.ts";

/** Options of {@link exportImages}. */
export type ExportImagesOptions = Omit<ExportOptions, "content">;

/**
 * This yields a tar with images of the daemon, by their names: see `exportArchive` of `@berth/images`. Nothing is read from the daemon
 * before somebody takes the bytes.
 *
 * @throws not_found - no such image, or a blob of it is not there
 * @throws invalid_argument - no name is given
 */
export async function* exportImages(
  client: Client,
  names: readonly string[],
  options: ExportImagesOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  if (names.length === 0) throw invalidArgument("no image to export is named");
  const images: ImageToExport[] = [];
  for (const name of new Set(names)) {
    const { target } = await client.images.get(name, { signal: options.signal });
    images.push({ name, target });
  }
  yield* exportArchive(images, { ...options, content: client.content });
}
