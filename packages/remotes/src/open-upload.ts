import { sourceLabel } from "@berth/core/distribution-source";
import type { ContentProvider } from "@berth/core/content";
import { internal, isPermissionDenied, isUnauthenticated } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import type { RegistryHost } from "./hosts/registry-host.ts";
import type { HttpResponse } from "./http/exchange.ts";
import type { PushOptions } from "./push.ts";
import { registryError } from "./registry-error.ts";
import type { RegistryRequests } from "./registry-requests.ts";
import { repositoryScope } from "./scopes.ts";

/** What is pushed, and where to. */
export interface Upload {
  readonly requests: RegistryRequests;
  readonly host: RegistryHost;
  readonly descriptor: Descriptor;
  readonly content: ContentProvider;
  readonly options: PushOptions;
}

/** This returns what a token must allow for a push. */
export function scopesOf({ requests }: Upload): readonly string[] {
  return [repositoryScope(requests.repository, "pull", "push")];
}

/** This returns where to send a blob, `undefined` when another repository had it. */
export async function openUpload(upload: Upload): Promise<URL | undefined> {
  const opened = (await mount(upload)) ?? (await askForUpload(upload, {}, scopesOf(upload)));
  if (!isOpened(opened)) throw await registryError(opened, `push ${upload.descriptor.digest}`);
  await opened.discard();
  return opened.status === 201 ? undefined : locationOf(opened);
}

/** This asks for a blob by way of another repository. That one may be private, of which the registry or its token server may not even tell: then the blob is sent like any other. */
async function mount(upload: Upload): Promise<HttpResponse | undefined> {
  const { requests, descriptor } = upload;
  const from = sourceRepository(requests, descriptor);
  if (from === undefined) return undefined;
  const scopes = [...scopesOf(upload), repositoryScope(from, "pull")];
  try {
    const response = await askForUpload(upload, { mount: descriptor.digest, from }, scopes);
    if (isOpened(response)) return response;
    await response.discard();
    return undefined;
  } catch (error) {
    if (isUnauthenticated(error) || isPermissionDenied(error)) return undefined;
    throw error;
  }
}

async function askForUpload(
  { requests, host, options }: Upload,
  query: Readonly<Record<string, string>>,
  scopes: readonly string[],
): Promise<HttpResponse> {
  return await requests.send(host, {
    method: "POST",
    path: "/blobs/uploads/",
    query: new URLSearchParams(query),
    scopes,
    isLast: true,
    signal: options.signal,
  });
}

function isOpened({ status }: HttpResponse): boolean {
  return status === 201 || status === 202;
}

/** This returns where a registry wants the next request of an upload. @throws internal - it names no URL */
export function locationOf(response: HttpResponse): URL {
  const location = response.header("location");
  const url = !location ? null : URL.parse(location, response.url.href);
  if (url === null || !/^https?:$/.test(url.protocol)) throw internal("the registry does not say where to upload to");
  return url;
}

/** A repository of the same registry that has the blob, as its labels tell. */
function sourceRepository({ registry, repository }: RegistryRequests, { annotations }: Descriptor): string | undefined {
  const repositories = annotations?.[sourceLabel(registry)]?.split(",") ?? [];
  return repositories.find((each) => each !== "" && each !== repository);
}
