import { createHash } from "node:crypto";

import type { PullImageOptions } from "@berth/client/pull";
import { failedPrecondition } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { digestAlgorithm, formatDigest, isLayerType, parseDigest, parseReference } from "@berth/oci";
import type { RegistryClient } from "@berth/remotes";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { requireReference } from "../cli/image-reference.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { withRegistryAdvice } from "../cli/registry-advice.ts";
import { openRegistry, REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import { isOutputClosed, print, printAndWait } from "../output/print.ts";
import { TransferProgress } from "../output/transfer-progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

const NO_REMOTE = "no image given: name one in full, like docker.io/library/alpine:latest";
const NO_TYPE = "application/octet-stream";

export const fetch = defineCommand({
  usage: "<remote>",
  description: "Downloads an image's content and names it, without unpacking it.",
  flags: {
    ...REGISTRY_FLAGS,
    label: listFlag("label of the image, key=value"),
    platform: listFlag("fetch for this platform, e.g. linux/arm64, instead of the host's"),
    "all-platforms": booleanFlag("fetch for every platform"),
    "skip-metadata": booleanFlag("no effect: documents of other platforms are never fetched"),
    "metadata-only": booleanFlag("fetch manifests and configurations of every platform, no layers"),
  },
  async run({ flags, args, session }) {
    const name = requireReference(args, 0, NO_REMOTE);
    const isMetadata = flags["metadata-only"];
    const platform = platformsOf(isMetadata ? { platform: [], "all-platforms": true } : flags);
    await using registry = await openRegistry(flags);
    using _signals = endOnSignals(session);
    const { signal } = session;
    const { pullImage } = await import("@berth/client/pull");
    using progress = new TransferProgress("downloading");
    const client = await session.client();
    const pull: PullImageOptions = {
      platform,
      everyPlatform: isMetadata || flags["all-platforms"] || flags.platform.length > 1,
      labels: parseLabels(flags.label),
      signal,
      ...(isMetadata && { needsLayer: async ({ mediaType }: Descriptor) => !isLayerType(mediaType) }),
      onResolved: ({ digest }) => print(`${name} resolved: ${digest}\n`),
      onProgress: (descriptor, offset) => progress.reached(descriptor, offset),
      onStored: (descriptor, state) => progress.done(descriptor, state === "exists" ? "exists" : "done"),
    };
    const { target } = await withRegistryAdvice(`fetch ${name}`, () => pullImage(client, registry, name, pull));
    progress.finish();
    print(`${target.digest}\n`);
  },
});

export const fetchObject = defineCommand({
  usage: "<remote> [<object>]",
  description:
    "Writes what a reference stands for to standard output, or the content of a digest in the same repository. Needs no daemon.",
  examples: ["ctr content fetch-object docker.io/library/alpine:latest | jq"],
  flags: REGISTRY_FLAGS,
  async run({ flags, args, session }) {
    const object = args[1] === undefined ? "needed" : "optional";
    const name = requireReference(args, 0, NO_REMOTE, { object });
    await using registry = await openRegistry(flags);
    using _signals = endOnSignals(session);
    await printObject(
      registry,
      args[1] === undefined ? name : inRepository(name, parseDigest(args[1])),
      session.signal,
    );
  },
});

export const fetchBlob = defineCommand({
  usage: "<remote> [<digest>, ...]",
  description: "Writes blobs of a repository to standard output, one after the other. Needs no daemon.",
  flags: {
    ...REGISTRY_FLAGS,
    "media-type": stringFlag("type of the blobs, where the registry does not tell"),
  },
  async run({ flags, args, session }) {
    const name = requireReference(args, 0, NO_REMOTE, { object: "optional" });
    requireArgument(args, 1, "no digest given: name the blobs to fetch");
    const digests = args.slice(1).map(parseDigest);
    await using registry = await openRegistry(flags);
    using _signals = endOnSignals(session);
    for (const digest of digests) {
      const reference = inRepository(name, digest);
      await withRegistryAdvice(`fetch ${reference}`, () =>
        printObject(registry, reference, session.signal, flags["media-type"]),
      );
    }
  },
});

function inRepository(name: string, digest: Digest): string {
  return `${parseReference(name).locator}@${digest}`;
}

/** What comes is compared with its digest: who reads a pipe sees by the exit code that it was not what it should be. */
async function printObject(
  registry: RegistryClient,
  reference: string,
  signal: AbortSignal,
  mediaType = "",
): Promise<void> {
  const { name, descriptor } = await registry.resolve(reference, { signal, blobFirst: true });
  const known = mediaType === "" ? descriptor : { ...descriptor, mediaType };
  const algorithm = digestAlgorithm(descriptor.digest);
  const hash = createHash(algorithm);
  const wanted = known.mediaType === "" ? { ...known, mediaType: NO_TYPE } : known;
  for await (const chunk of registry.fetch(name, wanted, { signal })) {
    hash.update(chunk);
    await printAndWait(chunk);
    if (isOutputClosed()) return;
  }
  const found = formatDigest(algorithm, hash.digest("hex"));
  if (found !== descriptor.digest) throw failedPrecondition(`${reference}: the registry sent ${found}`);
}

export const pushObject = defineCommand({
  usage: "<remote> <object> <type>",
  description:
    "Uploads one blob of the content store, by its digest, as the media type given; a manifest gets the tag of <remote>.",
  flags: REGISTRY_FLAGS,
  async run({ flags, args, session }) {
    const remote = requireReference(args, 0, NO_REMOTE, { object: "optional" });
    const digest = parseDigest(requireArgument(args, 1, "no digest given: name the blob to push"));
    const mediaType = requireArgument(args, 2, "no media type given");
    await using registry = await openRegistry(flags);
    using _signals = endOnSignals(session);
    const { createContentClient } = await import("@berth/client/content");
    const content = createContentClient(session.transport());
    const { signal } = session;
    const { size } = await content.info(digest, { signal });
    const [tag = ""] = parseReference(remote).object.split("@");
    using progress = new TransferProgress("uploading");
    const descriptor = { mediaType, digest, size };
    const options = {
      signal,
      ...(tag !== "" && { object: tag }),
      onProgress: (bytes: number) => progress.moved(descriptor, bytes),
    };
    await withRegistryAdvice(`push ${remote}`, () => registry.push(remote, descriptor, content, options));
    print(`pushed ${digest} ${mediaType}\n`);
  },
});
