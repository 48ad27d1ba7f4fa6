import { createHash } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import {
  failedPrecondition,
  isDeadlineExceeded,
  isPermissionDenied,
  isUnauthenticated,
  isUnavailable,
  notFound,
} from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { digestAlgorithm, digestHex, isDigest, isIndexType, isManifestType } from "@berth/oci";

import type { RegistryHost } from "./hosts/registry-host.ts";
import type { HttpBody, HttpResponse } from "./http/exchange.ts";
import type { Upload } from "./open-upload.ts";
import { locationOf, openUpload, scopesOf } from "./open-upload.ts";
import { registryError } from "./registry-error.ts";
import type { RegistryRequests } from "./registry-requests.ts";

const MAX_RESUMES = 5;
const OCTETS = "application/octet-stream";

/** Options of a push. */
export interface PushOptions extends CallOptions {
  /** The tag, or digest, that a manifest gets; its digest when absent. */
  readonly object?: string;
  /** Told of each chunk when it is on its way. */
  readonly onProgress?: (bytes: number) => void;
  /** Told when all is on its way, and only the registry is still to do its part: it may take a while to store what it has. Called again when something has to be sent again. */
  readonly onSent?: () => void;
}

/** Where pushes go. */
export interface PushTarget {
  readonly requests: RegistryRequests;
  readonly hosts: readonly RegistryHost[];
}

/**
 * This uploads content, unless the registry has it: blobs by way of another repository of the same registry where one is known to have them, else whole,
 * taken up again when the connection breaks. It returns whether anything was sent.
 *
 * @throws not_found - no host takes pushes, or the blob is not in the store
 * @throws failed_precondition - the registry has stored something else
 * @see containerd core/remotes/docker/pusher.go
 */
export async function pushContent(
  target: PushTarget,
  descriptor: Descriptor,
  content: ContentProvider,
  options: PushOptions = {},
): Promise<boolean> {
  const host = target.hosts.find(({ capabilities }) => capabilities.has("push"));
  if (host === undefined) throw notFound("no host of the registry is configured for push");
  const upload = { requests: target.requests, host, descriptor, content, options };
  const isManifest = isIndexType(descriptor.mediaType) || isManifestType(descriptor.mediaType);
  return isManifest ? await pushManifest(upload) : await pushBlob(upload);
}

async function pushManifest(upload: Upload): Promise<boolean> {
  const { requests, host, descriptor, options } = upload;
  const { digest, mediaType } = descriptor;
  const path = `/manifests/${options.object || digest}`;
  const scopes = scopesOf(upload);
  const { signal } = options;
  const head = await askFor(upload, path, { accept: `${mediaType}, */*` });
  if (head?.status === 200 && head.header("docker-content-digest") === digest) return false;
  const put = await requests.send(host, {
    method: "PUT",
    path,
    headers: { "content-type": mediaType },
    body: bodyFrom(upload, 0),
    scopes,
    isLast: true,
    signal,
  });
  await expectStored(put, upload);
  return true;
}

async function pushBlob(upload: Upload): Promise<boolean> {
  if (await isThere(upload)) return false;
  const to = await openUpload(upload);
  if (to !== undefined) await sendBlob(upload, to);
  return true;
}

async function isThere(upload: Upload): Promise<boolean> {
  const head = await askFor(upload, `/blobs/${upload.descriptor.digest}`, {});
  return head?.status === 200;
}

/** This asks what the registry has. Who may not ask may still push: then there is no answer. */
async function askFor(
  upload: Upload,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<HttpResponse | undefined> {
  const { requests, host, options } = upload;
  const { signal } = options;
  try {
    const head = await requests.send(host, {
      method: "HEAD",
      path,
      headers,
      scopes: scopesOf(upload),
      isLast: true,
      signal,
    });
    await head.discard();
    return head;
  } catch (error) {
    if (isUnauthenticated(error) || isPermissionDenied(error)) return undefined;
    throw error;
  }
}

/** All at once; after a broken connection, what is left in a chunk of its own, or all of it anew. */
async function sendBlob(upload: Upload, location: URL): Promise<void> {
  const { options } = upload;
  let to: URL | undefined = location;
  let offset = 0;
  for (let resumes = 0; to !== undefined; resumes += 1) {
    try {
      await sendFrom(upload, to, offset);
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(isUnavailable(error) || isDeadlineExceeded(error)) || resumes === MAX_RESUMES) throw error;
      const state = await uploadState(upload, to);
      // It may have ended with the blob stored, and only the answer lost.
      if (state === undefined && (await isThere(upload))) return;
      offset = state?.offset ?? 0;
      to = offset > 0 ? state?.to : await openUpload(upload);
    }
  }
}

async function sendFrom(upload: Upload, to: URL, offset: number): Promise<void> {
  const { size } = upload.descriptor;
  if (offset > 0) {
    // Only the end may be missing.
    await finish(upload, offset === size ? to : await sendRest(upload, to, offset), EMPTY);
  } else await finish(upload, to, bodyFrom(upload, 0));
}

/** This asks how much of an upload has arrived; `undefined` when the registry knows it no more. */
async function uploadState(
  upload: Upload,
  to: URL,
): Promise<{ readonly to: URL; readonly offset: number } | undefined> {
  const { requests, host, descriptor, options } = upload;
  const scopes = scopesOf(upload);
  const status = await requests.send(host, { method: "GET", path: to, scopes, isLast: true, signal: options.signal });
  await status.discard();
  if (status.status !== 204) return undefined;
  const offset = receivedBytes(status);
  if (offset > descriptor.size) return undefined;
  return { to: status.header("location") ? locationOf(status) : to, offset };
}

async function sendRest(upload: Upload, to: URL, offset: number): Promise<URL> {
  const { requests, host, descriptor, options } = upload;
  const response = await requests.send(host, {
    method: "PATCH",
    path: to,
    headers: {
      "content-type": OCTETS,
      "content-range": `${offset}-${descriptor.size - 1}`,
    },
    body: bodyFrom(upload, offset),
    scopes: scopesOf(upload),
    signal: options.signal,
  });
  if (response.status !== 202) throw await registryError(response, `push ${descriptor.digest}`);
  await response.discard();
  return locationOf(response);
}

async function finish(upload: Upload, to: URL, body: HttpBody): Promise<void> {
  const { requests, host, descriptor, options } = upload;
  const url = new URL(to);
  url.searchParams.set("digest", descriptor.digest);
  const response = await requests.send(host, {
    method: "PUT",
    path: url,
    headers: { "content-type": OCTETS },
    body,
    scopes: scopesOf(upload),
    signal: options.signal,
  });
  await expectStored(response, upload);
}

const EMPTY: HttpBody = { length: 0, async *open() {} };

function bodyFrom({ content, descriptor, options }: Upload, offset: number): HttpBody {
  const { signal, onProgress, onSent } = options;
  return {
    length: descriptor.size - offset,
    async *open() {
      for await (const chunk of streamBlob(content, descriptor.digest, { offset, reuse: true, signal })) {
        yield chunk;
        onProgress?.(chunk.length);
      }
      onSent?.();
    },
  };
}

async function expectStored(response: HttpResponse, upload: Upload): Promise<void> {
  const { status } = response;
  const { digest } = upload.descriptor;
  if (status !== 201 && status !== 200 && status !== 204) throw await registryError(response, `push ${digest}`);
  await response.discard();
  const stored = response.header("docker-content-digest");
  if (stored === undefined || stored === digest || (await isSameContent(upload, stored))) return;
  throw failedPrecondition(`push ${digest}: the registry has stored ${stored}`);
}

/** Registries that know content by one algorithm only tell the digest of that, whatever they were told. */
async function isSameContent({ content, descriptor, options }: Upload, stored: string): Promise<boolean> {
  if (!isDigest(stored) || digestAlgorithm(stored) === digestAlgorithm(descriptor.digest)) return false;
  const hash = createHash(digestAlgorithm(stored));
  const { signal } = options;
  for await (const chunk of streamBlob(content, descriptor.digest, { reuse: true, signal })) hash.update(chunk);
  return hash.digest("hex") === digestHex(stored);
}

/** `Range: 0-99` says that 100 bytes are there; `0-0` is said of one byte and of none. */
function receivedBytes(response: HttpResponse): number {
  const end = /^(?:bytes=)?0-(\d+)$/.exec(response.header("range") ?? "")?.[1];
  return end === undefined || end === "0" ? 0 : Number(end) + 1;
}
