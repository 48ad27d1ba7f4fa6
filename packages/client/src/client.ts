import { randomBytes } from "node:crypto";

import type { Transport } from "@connectrpc/connect";
import type { CallOptions } from "@berth/core/any";
import type { ContainerStore } from "@berth/core/containers";
import type { ContentStore, ListOptions } from "@berth/core/content";
import type { Applier, Comparer } from "@berth/core/diff";
import type { EventExchange } from "@berth/core/events";
import type { ImageStore } from "@berth/core/images";
import type { PluginRecord } from "@berth/core/introspection";
import type { Labels } from "@berth/core/labels";
import { LeaseLabel } from "@berth/core/leases";
import type { LeaseManager, LeaseResource } from "@berth/core/leases";
import type { MountManager } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";
import { DEFAULT_NAMESPACE, parseNamespace } from "@berth/core/namespaces";
import type { SandboxController } from "@berth/core/sandbox-controller";
import type { SandboxStore } from "@berth/core/sandboxes";
import type { Snapshotter } from "@berth/core/snapshots";
import { ignoreNotFound } from "@berth/errors";
import { createUnixTransport } from "@berth/rpc/client";

import { createContainersClient } from "./containers-client.ts";
import { createContentClient } from "./content-client.ts";
import { createDiffClient } from "./diff-client.ts";
import { createEventsClient } from "./events-client.ts";
import { isServing } from "./health-client.ts";
import { createImagesClient } from "./images-client.ts";
import type { IntrospectionClient, ServerInfo } from "./introspection-client.ts";
import { createIntrospectionClient } from "./introspection-client.ts";
import { createLeasesClient } from "./leases-client.ts";
import { createMountsClient } from "./mounts-client.ts";
import type { NamespacesClient } from "./namespaces-client.ts";
import { createNamespacesClient } from "./namespaces-client.ts";
import { createSandboxControllerClient } from "./sandbox-controller-client.ts";
import { createSandboxesClient } from "./sandboxes-client.ts";
import type { Scope } from "./scoped-transport.ts";
import { scopedTransport } from "./scoped-transport.ts";
import { createSnapshotsClient } from "./snapshots-client.ts";
import type { TasksClient } from "./tasks-client.ts";
import { createTasksClient } from "./tasks-client.ts";
import type { VersionInfo } from "./version-client.ts";
import { getVersion } from "./version-client.ts";

/** Options of {@link createClient}. */
export interface ClientOptions {
  /** Path of the daemon's socket. */
  readonly address: string;
  readonly namespace?: string;
  /** Id of a lease that takes what is made. */
  readonly lease?: string;
  /** Closes the connection when aborted. */
  readonly signal?: AbortSignal;
  readonly connectTimeoutMs?: number;
}

/** Options of {@link Client.lease}. */
export interface HoldLeaseOptions extends CallOptions {
  /** When the lease ends should this process not end it; 24 hours. */
  readonly expireMs?: number;
  readonly labels?: Labels;
  /** Wait in the end until what the lease alone held has been collected. */
  readonly sync?: boolean;
}

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * This makes a client of the daemon that listens at `address`: berth, or containerd. Nothing is opened before the first call.
 *
 * @throws invalid_argument - `namespace` is no identifier
 */
export function createClient(options: ClientOptions): Client {
  const namespace = parseNamespace(options.namespace ?? DEFAULT_NAMESPACE);
  const transport = createUnixTransport({
    path: options.address.replace(/^unix:\/\//, ""),
    namespace,
    lease: options.lease,
    signal: options.signal,
    connectTimeoutMs: options.connectTimeoutMs,
  });
  return new Client(transport, namespace, async () => transport.close());
}

/** Every contract of a daemon, in one namespace. Disposing it closes the connection, if it opened one itself. */
export class Client implements AsyncDisposable {
  readonly transport: Transport;
  readonly namespace: Namespace;
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly containers: ContainerStore;
  readonly leases: LeaseManager;
  readonly sandboxes: SandboxStore;
  /** Mounts are made where the daemon is. */
  readonly mounts: MountManager;
  readonly namespaces: NamespacesClient;
  readonly events: EventExchange;
  readonly diff: Applier & Comparer;
  readonly tasks: TasksClient;
  readonly introspection: IntrospectionClient;
  readonly #close: (() => Promise<void>) | undefined;

  /** This builds a client on a transport that names `namespace`; `close` is called by the disposal. */
  constructor(transport: Transport, namespace: Namespace, close?: () => Promise<void>) {
    this.transport = transport;
    this.namespace = namespace;
    this.content = createContentClient(transport);
    this.images = createImagesClient(transport);
    this.containers = createContainersClient(transport);
    this.leases = createLeasesClient(transport);
    this.sandboxes = createSandboxesClient(transport);
    this.mounts = createMountsClient(transport);
    this.namespaces = createNamespacesClient(transport);
    this.events = createEventsClient(transport);
    this.diff = createDiffClient(transport);
    this.tasks = createTasksClient(transport);
    this.introspection = createIntrospectionClient(transport);
    this.#close = close;
  }

  /** This gives access to a snapshotter by name; whether the daemon has it shows at the first call. */
  snapshotter(name: string): Snapshotter {
    return createSnapshotsClient(this.transport, name);
  }

  /** This gives access to a sandbox controller by name; whether the daemon has it shows at the first call. */
  sandboxController(name = "shim"): SandboxController {
    return createSandboxControllerClient(this.transport, name);
  }

  /** This returns a client on the same connection with another namespace or lease. It need not be disposed. */
  scoped(scope: Scope): Client {
    const namespace = scope.namespace === undefined ? this.namespace : parseNamespace(scope.namespace);
    return new Client(scopedTransport(this.transport, scope), namespace);
  }

  /** This makes a lease, and gives a client whose writes it holds. The caller disposes it, which deletes it. */
  async lease(options: HoldLeaseOptions = {}): Promise<HeldLease> {
    const expire = new Date(Date.now() + (options.expireMs ?? DAY_MS)).toISOString();
    const id = `${Date.now()}-${randomBytes(4).toString("hex")}`;
    const labels = new Map([...(options.labels ?? []), [LeaseLabel.expire, expire]]);
    await this.leases.create({ id, labels }, options);
    return new HeldLease(id, this.scoped({ lease: id }), options.sync ?? false);
  }

  /** This runs `work` with a client whose writes are held by a new {@link Client.lease}, which is deleted afterwards, whatever the outcome. */
  async withLease<T>(work: (client: Client) => Promise<T>, options: HoldLeaseOptions = {}): Promise<T> {
    await using lease = await this.lease(options);
    return await work(lease.client);
  }

  /** This asks which version the daemon is. */
  version(options?: CallOptions): Promise<VersionInfo> {
    return getVersion(this.transport, options);
  }

  /** This asks the daemon who it is, and which features in use will go away. */
  server(options?: CallOptions): Promise<ServerInfo> {
    return this.introspection.server(options);
  }

  /** This lists what the daemon is made of, in the order of initialisation; filter fields are `type` and `id`. */
  plugins(options?: ListOptions): Promise<readonly PluginRecord[]> {
    return this.introspection.plugins(options);
  }

  /** This says whether the daemon calls itself ready. @throws unavailable - it cannot be reached */
  health(options?: CallOptions): Promise<boolean> {
    return isServing(this.transport, options);
  }

  /** This closes the connection, if this client has opened one itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close?.();
  }
}

/**
 * A lease of this program's own, made by {@link Client.lease}. Disposing it deletes it, once, without any caller's signal: an operation that was aborted does not keep its garbage
 * for a day. What nothing else refers to by then may be collected.
 */
export class HeldLease implements AsyncDisposable {
  readonly id: string;
  /** A client on the same connection whose writes this lease holds. */
  readonly client: Client;
  readonly #sync: boolean;
  #ended: Promise<void> | undefined;

  /** For {@link Client.lease}, which has made the lease. */
  constructor(id: string, client: Client, sync: boolean) {
    this.id = id;
    this.client = client;
    this.#sync = sync;
  }

  /** This has the lease hold something that is there already, and what it refers to. @throws not_found - the lease has expired */
  async hold(resource: LeaseResource, options?: CallOptions): Promise<void> {
    await this.client.leases.addResource(this.id, resource, options);
  }

  /** This deletes the lease. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    await this.#ended;
  }

  async #end(): Promise<void> {
    await this.client.leases.delete(this.id, { sync: this.#sync }).catch(ignoreNotFound);
  }
}
