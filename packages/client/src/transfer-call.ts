import { Transfer } from "@berth/api/containerd/services/transfer/v1/transfer";
import type { Progress } from "@berth/api/containerd/types/transfer/progress";
import { ProgressSchema } from "@berth/api/containerd/types/transfer/progress";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { unpackMessage } from "@berth/core/messages";
import type { Descriptor } from "@berth/oci";
import { createClient } from "@connectrpc/connect";

import type { Client } from "./client.ts";
import type { OpenStream } from "./open-stream.ts";
import { openStream } from "./open-stream.ts";
import { fromProtoDescriptor, fromProtoInt } from "./wire-values.ts";

/** A step of a transfer, in the words of the transfer service. */
export interface TransferStep {
  readonly event: string;
  /** An image, or the ref of a blob. */
  readonly name: string;
  /** What it belongs to. */
  readonly parents: readonly string[];
  /** Bytes that have moved, and how many there are. */
  readonly progress: number;
  readonly total: number;
  readonly descriptor?: Descriptor;
}

/** Options of everything that the transfer service does. */
export interface WatchOptions extends CallOptions {
  /** Told of each step; must not throw. */
  readonly onProgress?: (step: TransferStep) => void;
}

/**
 * This has the daemon move something, and returns when it is there and its last step has been told. What `failed` is aborted with keeps the call from going on, and is what the caller is told.
 * Aborted once it is there, this returns without the last steps.
 */
export async function callTransfer(
  client: Client,
  { source, destination }: { readonly source: AnyValue; readonly destination: AnyValue },
  { signal, onProgress }: WatchOptions,
  failed?: AbortSignal,
): Promise<void> {
  const either = AbortSignal.any([signal, failed].filter((each) => each !== undefined));
  try {
    await call(client, { source, destination }, either, onProgress);
  } catch (error) {
    throw failed?.aborted === true ? failed.reason : error;
  }
}

async function call(
  client: Client,
  { source, destination }: { readonly source: AnyValue; readonly destination: AnyValue },
  signal: AbortSignal,
  onProgress: WatchOptions["onProgress"],
): Promise<void> {
  using progress = onProgress && (await openStream(client.transport, { signal }));
  // It ends with its stream; what goes wrong there shows in the call.
  const watching = progress && watch(progress, onProgress).catch(() => {});
  const request = { source, destination, ...(progress && { options: { progressStream: progress.id } }) };
  await createClient(Transfer, client.transport).transfer(request, { signal });
  // The daemon ends it, or the signal.
  await watching;
}

async function watch({ messages }: OpenStream, onProgress: (step: TransferStep) => void): Promise<void> {
  for await (const message of messages) onProgress(stepOf(unpackMessage(ProgressSchema, message)));
}

function stepOf({ event, name, parents, progress, total, desc }: Progress): TransferStep {
  return {
    event,
    name,
    parents,
    progress: fromProtoInt(progress),
    total: fromProtoInt(total),
    ...(desc && { descriptor: fromProtoDescriptor(desc) }),
  };
}
