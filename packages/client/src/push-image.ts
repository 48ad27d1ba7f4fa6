import type { CallOptions } from "@berth/core/any";
import type { PushImageOptions as PushOptions } from "@berth/images";
import { pushImage as pushContents } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { parseReference } from "@berth/oci";
import type { RegistryClient } from "@berth/remotes";

import type { Client } from "./client.ts";

/** Options of {@link pushImage}. */
export interface PushImageOptions extends CallOptions, Pick<PushOptions, "platform" | "concurrency"> {
  /** What to push; what the image of the name stands for when absent. */
  readonly target?: Descriptor;
  /** Told of each chunk that is sent. */
  readonly onProgress?: (descriptor: Descriptor, bytes: number) => void;
  /** Told when the registry has a blob. */
  readonly onPushed?: (descriptor: Descriptor, state: "sent" | "exists") => void;
}

/**
 * This pushes an image of the daemon to a registry, under the tag of its name: its blobs are read from the daemon and sent from here.
 *
 * @throws not_found - no such image, or a blob of it is not there; as `RegistryClient`
 */
export async function pushImage(
  client: Client,
  registry: RegistryClient,
  name: string,
  options: PushImageOptions = {},
): Promise<void> {
  const { platform, concurrency, signal, onProgress } = options;
  const target = options.target ?? (await client.images.get(name, { signal })).target;
  const { object } = parseReference(name);
  await pushContents(target, {
    content: client.content,
    signal,
    ...(platform && { platform }),
    ...(concurrency !== undefined && { concurrency }),
    push: async (descriptor, sending) => {
      const isTarget = descriptor.digest === target.digest;
      const sent = await registry.push(name, descriptor, client.content, {
        ...sending,
        ...(isTarget && object !== "" && { object: object.replace(/@.*$/, "") }),
        ...(onProgress && { onProgress: (bytes) => onProgress(descriptor, bytes) }),
      });
      options.onPushed?.(descriptor, sent ? "sent" : "exists");
    },
  });
}
