import type { Client } from "@berth/client";
import type { Image } from "@berth/core/images";
import type { Snapshotter } from "@berth/core/snapshots";
import { isNotFound, wrapError } from "@berth/errors";
import { checkImage, isUnpacked } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { hostPlatform, only } from "@berth/oci";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import type { Listing } from "../output/listing.ts";
import { LISTING_FLAGS, printListing } from "../output/listing.ts";
import { formatBinarySize } from "../output/size.ts";
import { NARROW } from "../output/table.ts";

export const check = defineCommand({
  usage: "[<filter>, ...]",
  description: "Looks for everything that the host's platform needs. Filters are those of `ctr images list`.",
  flags: {
    ...LISTING_FLAGS,
    quiet: booleanFlag("print only the names of images that are complete", { aliases: ["q"] }),
    snapshotter: snapshotterFlag,
  },
  async run({ flags, args, session }) {
    const client = await session.client();
    const { signal } = session;
    const snapshotter = client.snapshotter(await chooseSnapshotter(client, flags.snapshotter, signal));
    const images = client.images.list({ filters: args, signal });
    await printListing(checkAll(client, snapshotter, images, { onlyComplete: flags.quiet, signal }), flags, LISTING);
  },
});

interface CheckedImage extends Pick<Image, "name" | "target"> {
  readonly status: "complete" | "incomplete" | "unavailable";
  readonly present: readonly Descriptor[];
  /** Absent where the documents that tell it are missing. */
  readonly required?: readonly Descriptor[];
  readonly unpacked: boolean;
}

const LISTING: Listing<CheckedImage> = {
  style: NARROW,
  header: ["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED", ""],
  row: ({ name, target, status, present, required, unpacked }) => [
    name,
    target.mediaType,
    target.digest,
    `${status} (${present.length}/${required?.length ?? "?"})`,
    `${formatBinarySize(sizeOf(present))}/${required === undefined ? "?" : formatBinarySize(sizeOf(required))}`,
    String(unpacked),
  ],
  name: ({ name }) => name,
  json: ({ name, target, status, present, required, unpacked }) => ({
    name,
    target: { mediaType: target.mediaType, digest: target.digest, size: String(target.size) },
    status,
    presentBytes: String(sizeOf(present)),
    ...(required !== undefined && { requiredBytes: String(sizeOf(required)) }),
    unpacked,
  }),
};

async function* checkAll(
  client: Client,
  snapshotter: Snapshotter,
  images: AsyncIterable<Image>,
  { onlyComplete, signal }: { readonly onlyComplete: boolean; readonly signal: AbortSignal },
): AsyncGenerator<CheckedImage, void, undefined> {
  for await (const image of images) {
    const checked = await checkOne(client, snapshotter, image, signal);
    if (!onlyComplete || checked.status === "complete") yield checked;
  }
}

async function checkOne(
  client: Client,
  snapshotter: Snapshotter,
  { name, target }: Image,
  signal: AbortSignal,
): Promise<CheckedImage> {
  const platform = only(hostPlatform());
  try {
    const { available, required, present, missing } = await checkImage(client.content, target, platform, { signal });
    if (!available) return { name, target, status: "unavailable", present, unpacked: false };
    const status = missing.length > 0 ? "incomplete" : "complete";
    return { name, target, status, present, required, unpacked: await isUnpackedHere() };
  } catch (error) {
    throw wrapError(error, `check ${name}`);
  }

  async function isUnpackedHere(): Promise<boolean> {
    try {
      return await isUnpacked(target, { content: client.content, snapshotter, platform, signal });
    } catch (error) {
      // The configuration, which tells the layers, is missing.
      if (isNotFound(error)) return false;
      throw error;
    }
  }
}

function sizeOf(descriptors: readonly Descriptor[]): number {
  return descriptors.reduce((sum, { size }) => sum + size, 0);
}
