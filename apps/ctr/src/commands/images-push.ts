import { resolve } from "node:path";

import type { Client } from "@berth/client";
import type { TransferStep } from "@berth/client/transfer";
import { invalidArgument } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { parseDigest, parsePlatform } from "@berth/oci";

import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, integerFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { requireReference } from "../cli/image-reference.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { withRegistryAdvice } from "../cli/registry-advice.ts";
import { credentialsOf, needsOwnConnection, openRegistry, REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import { TransferProgress } from "../output/transfer-progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

const UPLOADS = 3;

const FLAGS = {
  ...REGISTRY_FLAGS,
  manifest: stringFlag("upload what this digest stands for, instead of an image"),
  "manifest-type": stringFlag("media type of --manifest", { initial: "application/vnd.oci.image.manifest.v1+json" }),
  platform: listFlag("upload only what is for this platform"),
  "max-concurrent-uploaded-layers": integerFlag("blobs that are uploaded at once", { initial: UPLOADS }),
  "allow-non-distributable-blobs": booleanFlag("no effect: blobs of the image are always uploaded"),
  local: booleanFlag("push through this program, not in the daemon"),
};

type PushFlags = FlagValues<typeof FLAGS>;

export const push = defineCommand({
  usage: "<remote> [<local>]",
  description:
    "Uploads an image to a registry, under the name <remote>. Without <local>, the image of the same name is uploaded.\nWhat the registry has is not uploaded again.",
  examples: [
    "ctr images push --user me:secret example.org/app:1",
    "ctr images push example.org/app:2 example.org/app:1",
  ],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const remote = requireReference(args, 0, "no image given: name where it is to go, like example.org/app:1");
    if (flags.manifest !== "" && args[1] !== undefined)
      throw invalidArgument("--manifest stands instead of a local image");
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    using progress = new TransferProgress("uploading");
    const order: PushOrder = { client, remote, local: args[1] ?? remote, flags, progress, signal };
    // What is missing here is no matter of the registry.
    await targetOf(order);
    const byDaemon = await isForDaemon(order);
    await withRegistryAdvice(`push ${remote}`, () => (byDaemon ? pushByDaemon(order) : pushFromHere(order)));
    progress.finish();
  },
});

interface PushOrder {
  readonly client: Client;
  readonly remote: string;
  readonly local: string;
  readonly flags: PushFlags;
  readonly progress: TransferProgress;
  readonly signal: AbortSignal;
}

/** The daemon pushes, unless a flag asks for what only this program does, or it cannot. */
async function isForDaemon({ client, flags, signal }: PushOrder): Promise<boolean> {
  if (flags.local || flags.manifest !== "" || flags["max-concurrent-uploaded-layers"] !== UPLOADS) return false;
  if (needsOwnConnection(flags)) return false;
  const { hasTransferService } = await import("@berth/client/transfer");
  return await hasTransferService(client, { signal });
}

async function pushByDaemon({ client, remote, local, flags, progress, signal }: PushOrder): Promise<void> {
  const { pushFromDaemon } = await import("@berth/client/transfer");
  await pushFromDaemon(client, remote, {
    image: local,
    platforms: flags.platform.map(parsePlatform),
    credentials: await credentialsOf(flags),
    plainHttp: flags["plain-http"],
    signal,
    ...(flags["hosts-dir"] !== "" && { hostDirectory: resolve(flags["hosts-dir"]) }),
    onProgress: (step) => showStep(progress, step),
  });
}

function showStep(progress: TransferProgress, { event, descriptor, progress: bytes }: TransferStep): void {
  if (descriptor === undefined) return;
  if (event === "uploading" || event === "complete") progress.reached(descriptor, bytes);
  if (event === "complete") progress.done(descriptor, "done");
  if (event === "already exists") progress.done(descriptor, "exists");
}

async function pushFromHere(order: PushOrder): Promise<void> {
  const { client, remote, flags, progress, signal } = order;
  await using registry = await openRegistry(flags);
  const { pushImage } = await import("@berth/client/push");
  await pushImage(client, registry, remote, {
    target: await targetOf(order),
    signal,
    concurrency: Math.max(1, flags["max-concurrent-uploaded-layers"]),
    ...(flags.platform.length > 0 && { platform: platformsOf({ platform: flags.platform, "all-platforms": false }) }),
    onProgress: (descriptor, bytes) => progress.moved(descriptor, bytes),
    onPushed: (descriptor, state) => progress.done(descriptor, state === "exists" ? "exists" : "done"),
  });
}

async function targetOf({ client, local, flags, signal }: PushOrder): Promise<Descriptor> {
  if (flags.manifest === "") return (await client.images.get(local, { signal })).target;
  const { digest, size } = await client.content.info(parseDigest(flags.manifest), { signal });
  return { mediaType: flags["manifest-type"], digest, size };
}
