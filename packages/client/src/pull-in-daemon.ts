import { Transfer } from "@berth/api/containerd/services/transfer/v1/transfer";
import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import type { Progress } from "@berth/api/containerd/types/transfer/progress";
import { ProgressSchema } from "@berth/api/containerd/types/transfer/progress";
import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  OCIRegistrySchema,
} from "@berth/api/containerd/types/transfer/registry";
import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import { noLabels, toProtoLabels } from "@berth/core/labels";
import type { Descriptor, Platform } from "@berth/oci";
import type { CredentialSource } from "@berth/remotes";
import { fromBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";

import type { Client } from "./client.ts";
import type { OpenStream } from "./open-stream.ts";
import { openStream, packMessage } from "./open-stream.ts";
import { fromProtoDescriptor, fromProtoInt } from "./wire-values.ts";

/** Options of {@link pullInDaemon}. */
export interface PullInDaemonOptions extends CallOptions {
  /** Pull for these. */
  readonly platforms: readonly Platform[];
  /** Of the image. */
  readonly labels?: Labels;
  /** Name of the snapshotter that it is unpacked with; not unpacked when absent. */
  readonly snapshotter?: string;
  /** Asked when the registry wants to know who asks. */
  readonly credentials?: CredentialSource;
  /** Directory with a directory for each registry, on the daemon's machine. */
  readonly hostDirectory?: string;
  readonly plainHttp?: boolean;
  /** Told of each step, in the words of the transfer service. */
  readonly onProgress?: (step: PullStep) => void;
}

/** A step of a pull. */
export interface PullStep {
  readonly event: string;
  readonly name: string;
  /** Bytes that are there. */
  readonly progress: number;
  readonly descriptor?: Descriptor;
}

/** This says whether the daemon moves images itself. */
export async function hasTransferService(client: Client, options: CallOptions): Promise<boolean> {
  const plugins = await client.plugins({ ...options, filters: ["type==io.containerd.grpc.v1,id==transfer"] });
  return plugins.some(({ status }) => status === "loaded");
}

/**
 * This has the daemon pull an image: its content does not pass through this process. The daemon leases what it makes.
 *
 * @throws as the registry, the content store and the snapshotter; permission_denied - an image verifier is against it
 */
export async function pullInDaemon(client: Client, name: string, options: PullInDaemonOptions): Promise<void> {
  const { credentials, signal, hostDirectory = "", plainHttp = false } = options;
  const { transport } = client;
  using progress = await openStream(transport);
  using auth = credentials && (await openStream(transport));
  // Both end with their streams; what goes wrong there shows in the call.
  const watching = watch(progress, options).catch(() => {});
  if (auth !== undefined && credentials !== undefined) void answer(auth, credentials).catch(() => {});
  const resolver = { authStream: auth?.id ?? "", hostDir: hostDirectory, defaultScheme: plainHttp ? "http" : "" };
  const source = packMessage(OCIRegistrySchema, { reference: name, resolver });
  const destination = packMessage(ImageStoreSchema, destinationOf(name, options));
  const call = { source, destination, options: { progressStream: progress.id } };
  await createClient(Transfer, transport).transfer(call, signal === undefined ? {} : { signal });
  await watching;
}

function destinationOf(name: string, { platforms, labels = noLabels, snapshotter }: PullInDaemonOptions) {
  const wire = platforms.map(({ os, architecture, variant = "" }) => ({ os, architecture, variant }));
  return {
    name,
    labels: toProtoLabels(labels),
    platforms: wire,
    unpacks: snapshotter === undefined ? [] : wire.map((platform) => ({ platform, snapshotter })),
  };
}

async function watch(stream: OpenStream, { onProgress }: PullInDaemonOptions): Promise<void> {
  for await (const { value } of stream.messages) onProgress?.(stepOf(fromBinary(ProgressSchema, value)));
}

function stepOf({ event, name, progress, desc }: Progress): PullStep {
  return { event, name, progress: fromProtoInt(progress), ...(desc && { descriptor: fromProtoDescriptor(desc) }) };
}

async function answer(stream: OpenStream, credentials: CredentialSource): Promise<void> {
  for await (const { value } of stream.messages) {
    const { host } = fromBinary(AuthRequestSchema, value);
    const known = await credentials(host);
    const authType =
      known === undefined ? AuthType.NONE : known.username === "" ? AuthType.REFRESH : AuthType.CREDENTIALS;
    const { username = "", secret = "" } = known ?? {};
    stream.send(packMessage(AuthResponseSchema, { authType, username, secret }));
  }
}
