import { silentLogger } from "@berth/core/log";
import type { ContentProvider } from "@berth/core/content";
import type { Logger } from "@berth/core/log";
import { Turns } from "@berth/core/turns";
import { invalidArgument } from "@berth/errors";
import type { Descriptor, Digest, Reference } from "@berth/oci";
import { isDigest, parseReference, referenceHost } from "@berth/oci";

import { Authorizer } from "./auth/authorizer.ts";
import type { CredentialSource } from "./auth/credential-source.ts";
import type { FetchOptions } from "./fetch.ts";
import { fetchContent } from "./fetch.ts";
import { defaultHost } from "./hosts/default-host.ts";
import { hostsFromDirectory } from "./hosts/hosts-directory.ts";
import type { RegistryHost, TlsSettings } from "./hosts/registry-host.ts";
import type { RegistryTimeouts } from "./http/connections.ts";
import { Connections } from "./http/connections.ts";
import type { HttpWatcher } from "./http/http-step.ts";
import { PART_MEMORY_BYTES, PartMemory } from "./part-memory.ts";
import type { PartSettings } from "./parts-ahead.ts";
import type { RateLimit } from "./rate-limit.ts";
import type { PushOptions } from "./push.ts";
import { pushContent } from "./push.ts";
import type { ReferrersOptions } from "./referrers.ts";
import { fetchReferrers } from "./referrers.ts";
import { RegistryRequests } from "./registry-requests.ts";
import type { ResolveOptions } from "./resolve.ts";
import { resolveObject } from "./resolve.ts";

const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const MAX_PART_BYTES = 2 << 20;
const DEFAULT_REQUESTS = 3;
const TAG = /^\w[\w.-]{0,127}$/;

/** How registries are reached. */
export interface RegistryOptions {
  /** Directories like `/etc/containerd/certs.d`; the first that knows a registry counts. */
  readonly hostDirectories?: readonly string[];
  readonly credentials?: CredentialSource;
  /** Ask registries by plain HTTP whose `hosts.toml` names no server, but for Docker Hub. */
  readonly plainHttp?: boolean;
  /** For all hosts, beside what `hosts.toml` says of them. */
  readonly tls?: TlsSettings;
  /** Sent with every request. */
  readonly headers?: ReadonlyMap<string, readonly string[]>;
  /** Shared by all downloads of all clients that have it. */
  readonly downloadLimit?: RateLimit;
  /** Downloads of more than so many bytes come in parts of that size, at most 2 MiB, several at once; absent: each in one piece. A reader keeps its turn among the requests until it has read the piece that it is at: one that stops reading holds up others. */
  readonly partBytes?: number;
  /** With `partBytes`: requests of all downloads together that are under way at once; 3. */
  readonly maxRequests?: number;
  /** With `partBytes`: for parts that come before their turn; shared by all clients that have it. Absent: 8 MiB for this one. */
  readonly partMemory?: PartMemory;
  readonly timeouts?: RegistryTimeouts;
  /** Told of each request and each answer, of token servers too. */
  readonly onHttp?: HttpWatcher;
  readonly userAgent?: string;
  readonly log?: Logger;
}

/** What a reference stands for. */
export interface ResolvedReference {
  readonly name: string;
  readonly descriptor: Descriptor;
}

/**
 * Speaks to registries, Docker's and those of the OCI distribution specification, for one user. Calls may overlap. Disposing it cuts its connections.
 *
 * What `hosts.toml` says of a registry is read once, and so is which of its hosts speak no TLS: a client is for one transfer, or a few, not for good.
 */
export class RegistryClient implements AsyncDisposable {
  readonly #options: RegistryOptions;
  readonly #connections: Connections;
  readonly #authorizer: Authorizer;
  readonly #parts: PartSettings | undefined;
  readonly #hosts = new Map<string, Promise<readonly RegistryHost[]>>();
  /** By the names of repositories, registry included. */
  readonly #requests = new Map<string, RegistryRequests>();

  constructor(options: RegistryOptions = {}) {
    this.#options = options;
    this.#connections = new Connections(options.timeouts, options.onHttp);
    this.#authorizer = new Authorizer(options.credentials, options.timeouts);
    this.#parts = options.partBytes === undefined ? undefined : partSettings(options.partBytes, options);
  }

  /**
   * This asks the registry what a reference stands for. A reference without tag and digest means nothing to a registry.
   *
   * @throws invalid_argument - the reference; not_found; unauthenticated, permission_denied; unavailable; unimplemented - schema 1
   */
  async resolve(name: string, options: ResolveOptions = {}): Promise<ResolvedReference> {
    const { reference, requests, hosts } = await this.#open(name);
    if (reference.object === "")
      throw invalidArgument(`reference ${JSON.stringify(name)} has neither a tag nor a digest`);
    return { name, descriptor: await resolveObject(requests, hosts, reference.object, options) };
  }

  /** This downloads what a descriptor describes, from the repository of `name`; errors as `fetchContent`. */
  async *fetch(name: string, descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    const { requests, hosts } = await this.#open(name);
    const source = { requests, hosts, limit: this.#options.downloadLimit, parts: this.#parts };
    yield* fetchContent(source, descriptor, options);
  }

  /** This uploads to the repository of `name`; a manifest also gets the tag of the name, if `object` says so. Errors as `pushContent`. */
  async push(
    name: string,
    descriptor: Descriptor,
    content: ContentProvider,
    options: PushOptions = {},
  ): Promise<boolean> {
    const { requests, hosts } = await this.#open(name);
    return await pushContent({ requests, hosts }, descriptor, content, options);
  }

  /** This lists what refers to a manifest in the repository of `name`. */
  async referrers(name: string, digest: Digest, options: ReferrersOptions = {}): Promise<readonly Descriptor[]> {
    const { requests, hosts } = await this.#open(name);
    return await fetchReferrers({ requests, hosts, limit: this.#options.downloadLimit }, digest, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections[Symbol.asyncDispose]();
  }

  async #open(name: string): Promise<{
    readonly reference: Reference;
    readonly requests: RegistryRequests;
    readonly hosts: readonly RegistryHost[];
  }> {
    const reference = parseReference(name);
    const registry = referenceHost(reference);
    const repository = reference.locator.slice(registry.length + 1);
    const [tag, digest] = reference.object.split("@");
    // What is asked for becomes part of URLs.
    if (!REPOSITORY.test(repository))
      throw invalidArgument(`reference ${JSON.stringify(name)}: ${JSON.stringify(repository)} is not a repository`);
    if (tag !== undefined && tag !== "" && !TAG.test(tag))
      throw invalidArgument(`reference ${JSON.stringify(name)}: ${JSON.stringify(tag)} is not a tag`);
    if (digest !== undefined && !isDigest(digest))
      throw invalidArgument(`reference ${JSON.stringify(name)}: ${JSON.stringify(digest)} is not a digest`);
    return { reference, requests: this.#requestsFor(registry, repository), hosts: await this.#hostsOf(registry) };
  }

  #requestsFor(registry: string, repository: string): RegistryRequests {
    const key = `${registry}/${repository}`;
    const known = this.#requests.get(key);
    if (known !== undefined) return known;
    const requests = new RegistryRequests({
      registry,
      repository,
      connections: this.#connections,
      authorizer: this.#authorizer,
      userAgent: this.#options.userAgent ?? "containerd/2.4.0+berth",
    });
    this.#requests.set(key, requests);
    return requests;
  }

  #hostsOf(registry: string): Promise<readonly RegistryHost[]> {
    const known = this.#hosts.get(registry);
    if (known !== undefined) return known;
    const hosts = this.#readHosts(registry);
    this.#hosts.set(registry, hosts);
    // Whoever has put it right is not to be told of it again.
    hosts.catch(() => this.#hosts.delete(registry));
    return hosts;
  }

  async #readHosts(registry: string): Promise<readonly RegistryHost[]> {
    const { hostDirectories = [], plainHttp, tls, headers, log = silentLogger } = this.#options;
    const defaults = { plainHttp, tls };
    const configured = await hostsFromDirectory(hostDirectories, registry, defaults, log);
    const hosts = configured ?? [defaultHost(registry, defaults)];
    if (headers === undefined) return hosts;
    return hosts.map((host) => ({ ...host, headers: new Map([...headers, ...host.headers]) }));
  }
}

function partSettings(bytes: number, { maxRequests, partMemory }: RegistryOptions): PartSettings {
  return {
    bytes: Math.min(bytes, MAX_PART_BYTES),
    requests: new Turns(maxRequests ?? DEFAULT_REQUESTS),
    memory: partMemory ?? new PartMemory(PART_MEMORY_BYTES),
  };
}
