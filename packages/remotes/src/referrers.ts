import type { CallOptions } from "@berth/core/any";
import { readBytes } from "@berth/core/read-bytes";
import { failedPrecondition, isNotFound, resourceExhausted } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { digestAlgorithm, digestHex, MediaType, parseDescriptor } from "@berth/oci";

import { askHosts } from "./ask-hosts.ts";
import type { FetchSource } from "./fetch.ts";
import type { RegistryHost } from "./hosts/registry-host.ts";
import type { HttpResponse } from "./http/exchange.ts";
import { printable } from "./http/exchange.ts";
import { registryError } from "./registry-error.ts";
import type { RegistryRequest, RegistryRequests } from "./registry-requests.ts";
import { MAX_MANIFEST_BYTES } from "./resolve.ts";
import { repositoryScope } from "./scopes.ts";

/** Of the digest in the tag that stands in for the API: a longer one would be no tag. */
const MAX_TAG_HEX = 64;
const MAX_PAGES = 100;

/** Options of a search for referrers. */
export interface ReferrersOptions extends CallOptions {
  readonly artifactType?: string;
}

/**
 * This lists what refers to a manifest: signatures, bills of materials. Registries without the API are asked for the tag that stands in for it. None is an empty list.
 *
 * @throws failed_precondition - what a registry gives is no such list; resource_exhausted - it has no end
 * @see OCI distribution-spec 1.1, "Listing Referrers"; containerd core/remotes/docker/referrers.go
 */
export async function fetchReferrers(
  source: FetchSource,
  digest: Digest,
  options: ReferrersOptions = {},
): Promise<readonly Descriptor[]> {
  const { artifactType } = options;
  const query = new URLSearchParams(artifactType === undefined ? {} : { artifactType });
  const able = source.hosts.filter(({ capabilities }) => capabilities.has("referrers"));
  const tag = `${digestAlgorithm(digest)}-${digestHex(digest).slice(0, MAX_TAG_HEX)}`;
  const others = source.hosts.filter(({ capabilities }) => capabilities.has("resolve"));
  const found =
    (await findList({ ...source, hosts: able }, `/referrers/${digest}`, query, options)) ??
    (await findList(
      { ...source, hosts: able.length > 0 ? able : others },
      `/manifests/${tag}`,
      new URLSearchParams(),
      options,
    )) ??
    [];
  // Registries may ignore the filter.
  return artifactType === undefined ? found : found.filter((each) => each.artifactType === artifactType);
}

async function findList(
  { requests, hosts }: FetchSource,
  path: string,
  query: URLSearchParams,
  { signal }: CallOptions,
): Promise<readonly Descriptor[] | undefined> {
  const scopes = [repositoryScope(requests.repository, "pull")];
  const request = { method: "GET", path, query, headers: { accept: MediaType.ociIndex }, scopes, signal } as const;
  try {
    return await askHosts(
      hosts,
      [],
      (host, isLast) => readPages(requests, host, { ...request, isLast }),
      signal === undefined ? {} : { signal },
    );
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function readPages(
  requests: RegistryRequests,
  host: RegistryHost,
  first: RegistryRequest,
): Promise<readonly Descriptor[]> {
  const found: Descriptor[] = [];
  let left = MAX_MANIFEST_BYTES;
  let next: string | URL | undefined = first.path;
  for (let page = 0; next !== undefined; page += 1) {
    if (page === MAX_PAGES) throw resourceExhausted(`list referrers: there are more than ${MAX_PAGES} pages`);
    const response: HttpResponse = await requests.send(host, { ...first, path: next });
    if (response.status !== 200) throw await registryError(response, "list referrers");
    const bytes = await readBytes(response.body, left, "list of referrers");
    left -= bytes.length;
    found.push(...parseList(bytes, response.url));
    next = nextPage(response);
  }
  return found;
}

function parseList(bytes: Uint8Array, url: URL): readonly Descriptor[] {
  const place = `list of referrers of ${printable(url)}`;
  try {
    const { manifests } = Object(JSON.parse(Buffer.from(bytes).toString("utf8"))) as { readonly manifests?: unknown };
    if (!Array.isArray(manifests)) return [];
    return manifests.map((each: unknown) => parseDescriptor(each, place));
  } catch (error) {
    throw failedPrecondition(`${place} is not such a list`, { cause: error });
  }
}

/** Of `Link: </v2/x/referrers/sha256:…?page=2>; rel="next"`. */
function nextPage(response: HttpResponse): URL | undefined {
  for (const text of response.headers("link")) {
    for (const [, target = "", parameters = ""] of text.matchAll(/<([^>]*)>((?:[^",]|"[^"]*")*)/g)) {
      const [, quoted, relation = quoted] = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;"]+))/i.exec(parameters) ?? [];
      if (relation?.toLowerCase().split(/\s+/).includes("next") !== true) continue;
      const url = URL.parse(target, response.url.href);
      if (url !== null && /^https?:$/.test(url.protocol)) return url;
    }
  }
  return undefined;
}
