import type { CallOptions } from "@berth/core/any";
import { readBytes } from "@berth/core/read-bytes";
import { isNotFound } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { digestAlgorithm, digestHex, MediaType, parseDescriptor } from "@berth/oci";

import { askHosts } from "./ask-hosts.ts";
import type { FetchSource } from "./fetch.ts";
import { registryError } from "./registry-error.ts";
import { MAX_MANIFEST_BYTES } from "./resolve.ts";
import { repositoryScope } from "./scopes.ts";

/** Of the digest in the tag that stands in for the API: a longer one would be no tag. */
const MAX_TAG_HEX = 64;

/** Options of a search for referrers. */
export interface ReferrersOptions extends CallOptions {
  readonly artifactType?: string;
}

/**
 * This lists what refers to a manifest: signatures, bills of materials. Registries without the API are asked for the tag that stands in for it. None is an empty list.
 *
 * @see OCI distribution-spec 1.1, "Listing Referrers"
 */
export async function fetchReferrers(
  source: FetchSource,
  digest: Digest,
  options: ReferrersOptions = {},
): Promise<readonly Descriptor[]> {
  const { artifactType } = options;
  const query = new URLSearchParams(artifactType === undefined ? {} : { artifactType });
  const index =
    (await findIndex(source, `/referrers/${digest}`, query, options)) ??
    (await findIndex(
      source,
      `/manifests/${digestAlgorithm(digest)}-${digestHex(digest).slice(0, MAX_TAG_HEX)}`,
      new URLSearchParams(),
      options,
    ));
  if (index === undefined) return [];
  const found = parseIndex(index, digest);
  // Registries may ignore the filter.
  return artifactType === undefined ? found : found.filter((each) => each.artifactType === artifactType);
}

async function findIndex(
  { requests, hosts }: FetchSource,
  path: string,
  query: URLSearchParams,
  { signal }: CallOptions,
): Promise<unknown> {
  const scopes = [repositoryScope(requests.repository, "pull")];
  const able = hosts.filter(({ capabilities }) => capabilities.has("referrers") || capabilities.has("resolve"));
  try {
    return await askHosts(
      able,
      [],
      async (host, isLast) => {
        const response = await requests.send(host, {
          method: "GET",
          path,
          query,
          headers: { accept: MediaType.ociIndex },
          scopes,
          isLast,
          signal,
        });
        if (response.status !== 200) throw await registryError(response, "list referrers");
        return JSON.parse(
          Buffer.from(await readBytes(response.body, MAX_MANIFEST_BYTES, "list of referrers")).toString("utf8"),
        );
      },
      signal === undefined ? {} : { signal },
    );
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function parseIndex(value: unknown, digest: Digest): Descriptor[] {
  const { manifests } = Object(value) as { readonly manifests?: unknown };
  if (!Array.isArray(manifests)) return [];
  return manifests.map((each: unknown) => parseDescriptor(each, `referrers of ${digest}`));
}
