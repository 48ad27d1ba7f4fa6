import { resolve } from "node:path";

import { hostPlatform, onlyStrict, only, parsePlatform } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { stringFlag, unsupportedFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";
import { words } from "./images-convert.ts";

export const buildErofsCache = defineCommand({
  usage: "<image_ref> <cache_dir>",
  description:
    "Makes an EROFS image of each layer of an image, in a directory of this machine that the erofs snapshotter can have as one of its layer_content_caches. Needs mkfs.erofs; no image is made.",
  examples: ["ctr images build-erofs-cache example.org/app:1 /srv/erofs-layers"],
  flags: {
    compressors: stringFlag("how mkfs.erofs compresses blocks, e.g. lz4 or zstd; not at all when empty"),
    "mkfs-options": stringFlag("further options of mkfs.erofs, e.g. -Efragments,dedupe"),
    platform: stringFlag("layers of this platform instead of the host's"),
    dmverity: unsupportedFlag("dm-verity metadata of layers is not made", "boolean"),
  },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given: name the one whose layers are to be cached");
    const directory = requireArgument(args, 1, "no directory given for the cache");
    const platform = flags.platform === "" ? onlyStrict(hostPlatform()) : only(parsePlatform(flags.platform));
    const { buildErofsCache: build } = await import("@berth/client/convert");
    using _signals = endOnSignals(session);
    await build(await session.client(), name, resolve(directory), {
      platform,
      compressors: flags.compressors,
      mkfsOptions: words(flags["mkfs-options"]),
      signal: session.signal,
    });
    print(`${directory}\n`);
  },
});
