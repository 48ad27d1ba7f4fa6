import type { Client } from "@berth/client";
import { invalidArgument } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { parseDigest } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, integerFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { openRegistry, REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import { TransferProgress } from "../output/transfer-progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const push = defineCommand({
  usage: "<remote> [<local>]",
  description:
    "Uploads an image to a registry, under the name <remote>. Without <local>, the image of the same name is uploaded.\nWhat the registry has is not uploaded again.",
  examples: [
    "ctr images push --user me:secret example.org/app:1",
    "ctr images push example.org/app:2 example.org/app:1",
  ],
  flags: {
    ...REGISTRY_FLAGS,
    manifest: stringFlag("upload what this digest stands for, instead of an image"),
    "manifest-type": stringFlag("media type of --manifest", { initial: "application/vnd.oci.image.manifest.v1+json" }),
    platform: listFlag("upload only what is for this platform"),
    "max-concurrent-uploaded-layers": integerFlag("blobs that are uploaded at once", { initial: 3 }),
    "allow-non-distributable-blobs": booleanFlag("no effect: blobs of the image are always uploaded"),
    local: booleanFlag("push through this program; it always does"),
  },
  async run({ flags, args, session }) {
    const remote = requireArgument(args, 0, "no image given: name where it is to go, like example.org/app:1");
    if (flags.manifest !== "" && args[1] !== undefined)
      throw invalidArgument("--manifest stands instead of a local image");
    await using registry = await openRegistry(flags);
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const { pushImage } = await import("@berth/client/push");
    using progress = new TransferProgress("pushing");
    const target = await targetOf(client, args[1] ?? remote, flags, signal);
    await pushImage(client, registry, remote, {
      target,
      signal,
      concurrency: Math.max(1, flags["max-concurrent-uploaded-layers"]),
      ...(flags.platform.length > 0 && { platform: platformsOf({ platform: flags.platform, "all-platforms": false }) }),
      onProgress: (descriptor, bytes) => progress.moved(descriptor, bytes),
      onPushed: (descriptor, state) => progress.done(descriptor, state === "exists" ? "exists" : "done"),
    });
    progress.finish();
  },
});

async function targetOf(
  client: Client,
  name: string,
  flags: { readonly manifest: string; readonly "manifest-type": string },
  signal: AbortSignal,
): Promise<Descriptor> {
  if (flags.manifest === "") return (await client.images.get(name, { signal })).target;
  const { digest, size } = await client.content.info(parseDigest(flags.manifest), { signal });
  return { mediaType: flags["manifest-type"], digest, size };
}
