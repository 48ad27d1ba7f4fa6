import { Transfer, type TransferRequest } from "@berth/api/containerd/services/transfer/v1/transfer";
import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { ImageExportStreamSchema, ImageImportStreamSchema } from "@berth/api/containerd/types/transfer/importexport";
import type { RegistryResolver } from "@berth/api/containerd/types/transfer/registry";
import { OCIRegistrySchema } from "@berth/api/containerd/types/transfer/registry";
import type { AnyValue } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import type { StreamManager } from "@berth/core/streaming";
import type { ImageTransfers, TransferOptions } from "@berth/core/transfer";
import { invalidArgument, unimplemented } from "@berth/errors";
import { leaseOf, namespaceOf } from "@berth/rpc";
import type { ServiceImpl } from "@connectrpc/connect";

import { receiveBytes, sendBytes } from "./byte-streams.ts";
import { openHttpLog } from "./http-log.ts";
import { messageName, unpackMessage } from "./messages.ts";
import { ProgressSender } from "./progress-sender.ts";
import { fromProtoChoice, fromProtoImages, fromProtoResolver } from "./requests.ts";

export { Transfer };

/** What the service stands on. */
export interface TransferServiceOptions {
  readonly transfers: ImageTransfers;
  readonly streams: StreamManager;
  /** Where clients that want to be told of requests, and do not say where, have them told. */
  readonly log?: Logger;
}

/** A request, and how it is answered. */
interface Order extends Required<TransferServiceOptions> {
  readonly namespace: Namespace;
  readonly source: AnyValue;
  readonly destination: AnyValue;
  readonly options: TransferOptions;
}

const REGISTRY = OCIRegistrySchema.typeName;
const STORE = ImageStoreSchema.typeName;
const IMPORT = ImageImportStreamSchema.typeName;
const EXPORT = ImageExportStreamSchema.typeName;

/** What can go where. */
const PAIRS: Readonly<Record<string, (order: Order) => Promise<void>>> = {
  [`${REGISTRY} ${STORE}`]: pull,
  [`${STORE} ${REGISTRY}`]: push,
  [`${IMPORT} ${STORE}`]: importArchive,
  [`${STORE} ${EXPORT}`]: exportArchive,
  [`${STORE} ${STORE}`]: tag,
  [`${IMPORT} ${EXPORT}`]: echo,
};

/**
 * This serves `containerd.services.transfer.v1.Transfer`: bytes, progress and credentials go over streams of the streaming service.
 *
 * @see containerd plugins/services/transfer/service.go
 */
export function createTransferService(service: TransferServiceOptions): ServiceImpl<typeof Transfer> {
  return {
    async transfer(request, context) {
      const namespace = namespaceOf(context);
      const name = request.options?.progressStream ?? "";
      // First, so that whoever reads it is told of the end whatever comes.
      await using progress = name === "" ? undefined : new ProgressSender(service.streams.get(namespace, name));
      const [source, destination] = endsOf(request);
      const run = PAIRS[`${messageName(source)} ${messageName(destination)}`];
      if (run === undefined) throw unimplemented(`transfer from ${messageName(source)} to ${messageName(destination)}`);
      const options = {
        lease: leaseOf(context),
        signal: context.signal,
        ...(progress && { onProgress: progress.send }),
      };
      await run({ log: silentLogger, ...service, namespace, source, destination, options });
      return {};
    },
  };
}

function endsOf({ source, destination }: TransferRequest): readonly [AnyValue, AnyValue] {
  if (source === undefined || destination === undefined)
    throw invalidArgument("a transfer needs a source and a destination");
  return [source, destination];
}

async function pull(order: Order): Promise<void> {
  const { reference, resolver } = unpackMessage(OCIRegistrySchema, order.source);
  const to = fromProtoImages(unpackMessage(ImageStoreSchema, order.destination));
  await using http = httpLogOf(resolver, order);
  const from = {
    reference,
    access: { ...fromProtoResolver(resolver, reference, order), ...(http && { onHttp: http.onHttp }) },
  };
  await order.transfers.pull(order.namespace, from, to, order.options);
}

async function push(order: Order): Promise<void> {
  const { reference, resolver } = unpackMessage(OCIRegistrySchema, order.destination);
  const from = fromProtoImages(unpackMessage(ImageStoreSchema, order.source));
  await using http = httpLogOf(resolver, order);
  const to = {
    reference,
    access: { ...fromProtoResolver(resolver, reference, order), ...(http && { onHttp: http.onHttp }) },
  };
  await order.transfers.push(order.namespace, from, to, order.options);
}

function httpLogOf(resolver: RegistryResolver | undefined, { streams, namespace, log, options }: Order) {
  return resolver && openHttpLog(resolver, (id) => streams.get(namespace, id), { log, signal: options.signal });
}

async function importArchive(order: Order): Promise<void> {
  const to = fromProtoImages(unpackMessage(ImageStoreSchema, order.destination));
  const { forceCompress } = unpackMessage(ImageImportStreamSchema, order.source);
  const options = { ...order.options, compressLayers: forceCompress };
  await order.transfers.importArchive(order.namespace, openImport(order), to, options);
}

async function exportArchive(order: Order): Promise<void> {
  const from = fromProtoImages(unpackMessage(ImageStoreSchema, order.source));
  const choice = fromProtoChoice(unpackMessage(ImageExportStreamSchema, order.destination));
  await sendExport(order, order.transfers.exportArchive(order.namespace, from, choice, order.options));
}

async function tag(order: Order): Promise<void> {
  const from = fromProtoImages(unpackMessage(ImageStoreSchema, order.source));
  const to = fromProtoImages(unpackMessage(ImageStoreSchema, order.destination));
  await order.transfers.tag(order.namespace, from, to, order.options);
}

/** What comes goes back as it is: for tests of clients. */
async function echo(order: Order): Promise<void> {
  await sendExport(order, openImport(order));
}

function openImport({ source, streams, namespace, options }: Order): AsyncIterable<Uint8Array> {
  const { stream } = unpackMessage(ImageImportStreamSchema, source);
  return receiveBytes(streams.get(namespace, stream), options);
}

async function sendExport(
  { destination, streams, namespace, options }: Order,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  const { stream: id } = unpackMessage(ImageExportStreamSchema, destination);
  const stream = streams.get(namespace, id);
  try {
    await sendBytes(stream, bytes, options);
  } finally {
    // The client reads until the end.
    stream.close();
  }
}
