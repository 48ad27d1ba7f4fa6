import type { Logger } from "@berth/core/log";
import { notFound } from "@berth/errors";
import { hostPlatform, parsePlatform } from "@berth/oci";
import { z } from "zod";

import type { UnpackChoice } from "./transfer-options.ts";

const DEFAULT_DIFFER = "walking";

/** `unpack_config` of the configuration. */
export const unpackConfig = z
  .array(
    z.object({
      platform: z.string().default(""),
      snapshotter: z.string().default("overlayfs"),
      /** Empty for the default. */
      differ: z.string().default(DEFAULT_DIFFER),
      /** Of the configurations of what is unpacked with it; empty for that of images. */
      config_type: z.string().default(""),
      /** Without effect: what else a manifest has as layers is unpacked too. */
      layer_types: z.array(z.string()).default([]),
      /** Leave it out where the snapshotter or the differ is not loaded. */
      optional: z.boolean().default(false),
    }),
  )
  .default([]);

/** What is loaded. */
interface Loaded {
  readonly snapshotters: { has(name: string): boolean };
  readonly differs: { has(name: string): boolean };
  readonly log?: Logger;
}

/**
 * This reads what is unpacked to where a request leaves it open.
 *
 * @throws not_found - a snapshotter or differ that is not optional is not loaded; invalid_argument - no platform
 * @see containerd plugins/transfer/plugin.go, configureUnpackPlatforms
 */
export function unpackChoices(configured: z.infer<typeof unpackConfig>, loaded: Loaded): readonly UnpackChoice[] {
  const host = hostPlatform();
  if (configured.length === 0) {
    return [
      { platform: host, snapshotter: "overlayfs", differ: DEFAULT_DIFFER },
      { platform: host, snapshotter: "erofs", differ: DEFAULT_DIFFER },
    ];
  }
  return configured.flatMap(({ platform, snapshotter, differ: named, config_type: configType, optional }) => {
    const differ = named === "" ? DEFAULT_DIFFER : named;
    const missing = missingOf({ snapshotter, differ }, loaded);
    if (missing === undefined)
      return [{ platform: platform === "" ? host : parsePlatform(platform), snapshotter, differ, configType }];
    if (!optional) throw notFound(`${missing} of unpack_config is not loaded`);
    loaded.log?.info("unpack configuration left out", { missing });
    return [];
  });
}

function missingOf(
  { snapshotter, differ }: Pick<UnpackChoice, "snapshotter" | "differ">,
  { snapshotters, differs }: Loaded,
): string | undefined {
  if (!snapshotters.has(snapshotter)) return `snapshotter ${JSON.stringify(snapshotter)}`;
  return differs.has(differ) ? undefined : `differ ${JSON.stringify(differ)}`;
}
