import type { CallOptions } from "@berth/core/any";
import type { Image } from "@berth/core/images";

import type { HeldLease } from "./client.ts";

/**
 * This gets an image and has a lease hold its content, so that it can be read to the end though the image be removed, or stand for something else, meanwhile.
 *
 * @throws not_found - no such image, or the lease has expired
 */
export async function holdImage(lease: HeldLease, name: string, options: CallOptions): Promise<Image> {
  const { images } = lease.client;
  let image = await images.get(name, options);
  for (;;) {
    await lease.hold({ type: "content", id: image.target.digest }, options);
    // Once more: what the image let go of before it was held may have been collected.
    const held = await images.get(name, options);
    if (held.target.digest === image.target.digest) return held;
    image = held;
  }
}
