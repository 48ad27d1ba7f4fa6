import { createHash } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import { readBytes } from "@berth/core/read-bytes";
import { failedPrecondition, isNotFound, unimplemented } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { digestAlgorithm, formatDigest, isDigest, MediaType } from "@berth/oci";

import { askHosts } from "./ask-hosts.ts";
import type { RegistryHost } from "./hosts/registry-host.ts";
import type { HttpResponse } from "./http/exchange.ts";
import { registryError } from "./registry-error.ts";
import type { RegistryRequests } from "./registry-requests.ts";
import { repositoryScope } from "./scopes.ts";

/** Larger manifests are refused, by containerd too. */
export const MAX_MANIFEST_BYTES = 4_393_216;
const ACCEPT = [
  MediaType.dockerManifest,
  MediaType.dockerManifestList,
  MediaType.ociManifest,
  MediaType.ociIndex,
  "*/*",
].join(", ");
const SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1";

/** Options of {@link resolveObject}. */
export interface ResolveOptions extends CallOptions {
  /** The digest is probably that of a blob: it is looked for among manifests only where no host has such a blob. */
  readonly blobFirst?: boolean;
}

/**
 * This asks what a tag or a digest stands for. A digest is also looked for among blobs, where no host knows a manifest of it.
 *
 * @param object a tag, a digest, or a tag with `@` and a digest, which then counts
 * @throws not_found; unimplemented - schema 1; failed_precondition - another digest than was asked for, or an empty answer
 * @see containerd core/remotes/docker/resolver.go, Resolve
 */
export async function resolveObject(
  requests: RegistryRequests,
  hosts: readonly RegistryHost[],
  object: string,
  options: ResolveOptions = {},
): Promise<Descriptor> {
  const text = object.slice(object.indexOf("@") + 1);
  const digest = object.includes("@") && isDigest(text) ? text : undefined;
  const target = { requests, name: digest ?? object, digest, options };
  if (digest === undefined) {
    return await askHosts(
      hosts,
      ["pull", "resolve"],
      (host, isLast) => askFor(target, "manifests", host, isLast),
      options,
    );
  }
  const [first, second] =
    options.blobFirst === true ? (["blobs", "manifests"] as const) : (["manifests", "blobs"] as const);
  try {
    return await askHosts(hosts, ["pull"], (host, isLast) => askFor(target, first, host, isLast), options);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return await askHosts(hosts, ["pull"], (host, isLast) => askFor(target, second, host, isLast), options);
  }
}

interface Target {
  readonly requests: RegistryRequests;
  readonly name: string;
  readonly digest: Digest | undefined;
  readonly options: CallOptions;
}

async function askFor(
  target: Target,
  kind: "manifests" | "blobs",
  host: RegistryHost,
  isLast: boolean,
): Promise<Descriptor> {
  const { requests, name } = target;
  const doing = `resolve ${requests.registry}/${requests.repository}${isDigest(name) ? "@" : ":"}${name}`;
  const send = (method: "HEAD" | "GET"): Promise<HttpResponse> =>
    requests.send(host, {
      method,
      path: `/${kind}/${name}`,
      headers: { accept: ACCEPT },
      scopes: [repositoryScope(requests.repository, "pull")],
      isLast,
      ...target.options,
    });
  let response = await send("HEAD");
  // Some know no HEAD; and why something is forbidden stands in a body only.
  const askAgain = response.status === 403 || (response.status === 405 && kind === "manifests");
  if (askAgain || (response.status === 200 && !isComplete(response))) {
    await response.discard();
    response = await send("GET");
  }
  if (response.status !== 200) throw await registryError(response, doing);
  return await readDescriptor(response, target, doing);
}

function isComplete(response: HttpResponse): boolean {
  return isDigest(response.header("docker-content-digest") ?? "") && Number(response.header("content-length")) > 0;
}

async function readDescriptor(response: HttpResponse, { digest }: Target, doing: string): Promise<Descriptor> {
  const mediaType = (response.header("content-type") ?? "application/octet-stream").replace(/;.*$/, "").trim();
  if (mediaType.startsWith(SCHEMA_1) || mediaType === "text/plain") {
    await response.discard();
    throw unimplemented(
      `${doing}: it is an image of schema 1, which is no longer supported: it must be pushed again with a current tool`,
    );
  }
  const told = await measure(response, digest);
  if (digest !== undefined && told.digest !== digest) {
    throw failedPrecondition(`${doing}: the registry answered with ${told.digest}`);
  }
  if (told.size === 0) throw failedPrecondition(`${doing}: the registry says that it is empty`);
  return { mediaType, ...told };
}

/** What the headers say; where they do not say it, the bytes. */
async function measure(
  response: HttpResponse,
  wanted: Digest | undefined,
): Promise<{ readonly digest: Digest; readonly size: number }> {
  const digest = response.header("docker-content-digest") ?? "";
  const size = Number(response.header("content-length"));
  if (isDigest(digest) && Number.isSafeInteger(size) && size > 0) {
    await response.discard();
    return { digest, size };
  }
  const bytes = await readBytes(response.body, MAX_MANIFEST_BYTES, "manifest");
  const algorithm = wanted === undefined ? "sha256" : digestAlgorithm(wanted);
  return { digest: formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex")), size: bytes.length };
}
