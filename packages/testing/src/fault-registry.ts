import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import type { Descriptor, DigestAlgorithm } from "@berth/oci";
import { digestAlgorithm } from "@berth/oci";

import { FaultUploads } from "./fault-uploads.ts";
import { digestBytes } from "./image-builder.ts";
import type { RegistryFault, RegistryRequestRecord } from "./registry-fault.ts";

/** A registry in memory that fails on demand. Disposing it cuts its connections. */
export interface FaultRegistry extends AsyncDisposable {
  readonly host: string;
  readonly requests: readonly RegistryRequestRecord[];
  /** How many requests are being answered. */
  readonly open: number;
  /** Asked for each request; nothing goes wrong while it is absent. */
  fault: ((request: RegistryRequestRecord) => RegistryFault | undefined) | undefined;
  /** This adds content, as a manifest when it has the media type of one, under a digest of sha256 or another algorithm. */
  add(bytes: Uint8Array, mediaType?: string, algorithm?: DigestAlgorithm): Descriptor;
  /** This lets a tag, of any repository, stand for a manifest. */
  tag(tag: string, descriptor: Descriptor): void;
  /** This returns what is stored under a digest or a tag. */
  find(name: string): Uint8Array | undefined;
}

const OCTETS = "application/octet-stream";

/** This starts a registry on a port of this machine. */
export async function startFaultRegistry(): Promise<FaultRegistry> {
  const contents = new Map<string, { readonly bytes: Uint8Array; readonly descriptor: Descriptor }>();
  const requests: RegistryRequestRecord[] = [];
  let open = 0;
  const server = createServer((request, response) => {
    open += 1;
    response.once("close", () => (open -= 1));
    const record = toRecord(request, requests);
    requests.push(record);
    const name = record.path.split("/").at(-1) ?? "";
    // It does not know the API of referrers.
    const found = /^\/v2\/$|\/referrers\//.test(record.path) ? undefined : contents.get(name);
    const fault = registry.fault?.(record);
    if (fault?.kind === "silence") return;
    if (fault?.kind === "status") answer(response, record, found, fault);
    else
      void uploads.answer(request, response, record, fault).then((isDone) => {
        if (!isDone) answer(response, record, found, fault);
      });
  });
  const uploads = new FaultUploads({
    has: (digest) => contents.has(digest),
    add(bytes, { mediaType, digest, tag }) {
      const descriptor = registry.add(bytes, mediaType || OCTETS, digest && digestAlgorithm(digest));
      if (tag !== undefined) registry.tag(tag, descriptor);
    },
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const registry: FaultRegistry = {
    // A server that listens on a port has such an address.
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get open() {
      return open;
    },
    fault: undefined,
    add(bytes, mediaType = OCTETS, algorithm = "sha256") {
      const descriptor = { mediaType, digest: digestBytes(bytes, algorithm), size: bytes.length };
      contents.set(descriptor.digest, { bytes, descriptor });
      return descriptor;
    },
    tag(tag, { digest }) {
      const content = contents.get(digest);
      if (content !== undefined) contents.set(tag, content);
    },
    find: (name) => contents.get(name)?.bytes,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
  return registry;
}

function toRecord(
  { method = "", url = "", headers }: IncomingMessage,
  before: readonly RegistryRequestRecord[],
): RegistryRequestRecord {
  const { pathname: path, searchParams: query } = new URL(url, "http://registry");
  const nth = before.filter((each) => each.method === method && each.path === path).length;
  return { method, path, query, headers, nth };
}

interface Content {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
}

function answer(
  response: ServerResponse,
  request: RegistryRequestRecord,
  content: Content | undefined,
  fault: RegistryFault | undefined,
): void {
  if (fault?.kind === "status") {
    response.writeHead(fault.status, fault.headers).end(request.method === "HEAD" ? undefined : fault.body);
    return;
  }
  if (content === undefined) {
    response.writeHead(404, { "content-type": "application/json" });
    response.end(request.method === "HEAD" ? undefined : '{"errors":[{"code":"NOT_FOUND","message":"no such thing"}]}');
    return;
  }
  const part = partOf(content.bytes, request, fault);
  response.setHeader("content-type", content.descriptor.mediaType);
  response.setHeader("docker-content-digest", content.descriptor.digest);
  if (part.range !== undefined) response.setHeader("content-range", part.range);
  response.statusCode = part.range === undefined ? 200 : 206;
  const isOpenEnded = fault?.kind === "truncate" || fault?.kind === "endless";
  if (!isOpenEnded) response.setHeader("content-length", part.bytes.length);
  if (fault?.kind === "headers")
    for (const [name, value] of Object.entries(fault.headers)) response.setHeader(name, value);
  if (request.method === "HEAD") response.end();
  else send(response, part.bytes, fault);
}

function partOf(
  bytes: Uint8Array,
  { headers }: RegistryRequestRecord,
  fault: RegistryFault | undefined,
): { readonly bytes: Uint8Array; readonly range?: string } {
  const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
  if (start === undefined || fault?.kind === "ignore-range") return { bytes };
  const from = fault?.kind === "wrong-range" ? Number(start) + 1 : Number(start);
  const part = bytes.subarray(from, end && fault?.kind !== "ignore-end" ? Number(end) + 1 : bytes.length);
  return { bytes: part, range: `bytes ${from}-${from + part.length - 1}/${bytes.length}` };
}

function send(response: ServerResponse, bytes: Uint8Array, fault: RegistryFault | undefined): void {
  switch (fault?.kind) {
    case "truncate":
      response.end(bytes.subarray(0, fault.after));
      return;
    case "reset":
      // What is written must be on its way before the connection is cut.
      response.write(bytes.subarray(0, fault.after), () => setTimeout(() => response.socket?.resetAndDestroy(), 20));
      return;
    case "stall":
      response.flushHeaders();
      response.write(bytes.subarray(0, fault.after));
      return;
    case "corrupt":
      response.end(corrupted(bytes, fault.from ?? 0));
      return;
    case "endless":
      sendEndless(response, bytes);
      return;
    default:
      response.end(bytes);
  }
}

function corrupted(bytes: Uint8Array, from: number): Uint8Array {
  return bytes.map((byte, at) => (at < from ? byte : byte ^ 1));
}

function sendEndless(response: ServerResponse, bytes: Uint8Array): void {
  while (!response.destroyed && response.write(bytes));
  if (!response.destroyed) response.once("drain", () => sendEndless(response, bytes));
}
