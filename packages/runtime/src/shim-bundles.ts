import { readdir } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import type { ExitStatus } from "@berth/core/runtime";
import type { ShimBundles, ShimBundlesOptions, ShimEndpoint, ShimInstance, ShimStartOptions } from "@berth/core/shims";
import { nowNs } from "@berth/core/timestamp";
import { alreadyExists } from "@berth/errors";
import type { Transport } from "@connectrpc/connect";

import { Bundle, type BundleRoots } from "./bundle.ts";
import { listBundles, removeStaleWork } from "./bundle-directories.ts";
import { cleanUpDeadShim } from "./dead-shim.ts";
import { makeInShim, type ShimAttempt, startShim } from "./shim-attempts.ts";
import type { ShimConnection } from "./shim-connection.ts";
import { copyShimLog } from "./shim-log.ts";
import type { ShimStarter } from "./shim-starter.ts";

/** A shim with the bundle that it was started for. */
class BundledShim implements ShimInstance {
  readonly bundle: Bundle;
  readonly binary: string | undefined;
  readonly connection: ShimConnection;
  readonly resources: AsyncDisposableStack;
  readonly lostExit = Promise.withResolvers<ExitStatus>();
  /** Set when it is given back: the end of the connection then means nothing. */
  isRemoved = false;

  constructor(bundle: Bundle, binary: string | undefined, connection: ShimConnection, resources: AsyncDisposableStack) {
    this.bundle = bundle;
    this.binary = binary;
    this.connection = connection;
    this.resources = resources;
  }

  get namespace(): Namespace {
    return this.bundle.namespace;
  }

  get id(): string {
    return this.bundle.id;
  }

  get bundlePath(): string {
    return this.bundle.path;
  }

  get endpoint(): ShimEndpoint {
    return this.connection.endpoint;
  }

  get transport(): Transport {
    return this.connection.transport;
  }

  get lost(): Promise<ExitStatus> {
    return this.lostExit.promise;
  }

  get isLost(): boolean {
    return this.connection.isClosed;
  }
}

/** Shims beside those of tasks: of sandboxes. Made by `openBundles` of the shim manager. */
export class LocalShimBundles implements ShimBundles {
  readonly #roots: BundleRoots;
  readonly #shims: ShimStarter;
  readonly #log: Logger;
  readonly #instances = new Map<string, BundledShim>();
  readonly #starting = new Set<string>();
  readonly #funerals = new Set<Promise<void>>();
  #isDisposed = false;

  constructor(roots: BundleRoots, shims: ShimStarter, log: Logger) {
    this.#roots = roots;
    this.#shims = shims;
    this.#log = log;
  }

  /** This takes over the shims of an earlier daemon, and removes what dead and forgotten ones left. */
  async load({ isWanted, signal }: ShimBundlesOptions): Promise<void> {
    const names = await listBundles(this.#roots.stateDir, this.#log);
    for (const name of names) {
      signal?.throwIfAborted();
      const bundle = new Bundle(this.#roots, name);
      await this.#load(bundle, isWanted).catch((error: unknown) =>
        this.#log.error("cannot load shim", { namespace: bundle.namespace, id: bundle.id, error }),
      );
    }
    const used = new Set([...this.#instances.values()].map(({ bundle }) => bundle.workPath));
    await removeStaleWork(this.#roots.rootDir, used, this.#log);
  }

  async start(namespace: Namespace, id: string, options: ShimStartOptions): Promise<ShimInstance> {
    const key = `${namespace}/${id}`;
    if (this.#instances.has(key) || this.#starting.has(key)) throw alreadyExists(`shim ${id} is running`);
    this.#starting.add(key);
    try {
      const log = this.#log.with({ namespace, id });
      return await makeInShim(() => this.#start(namespace, id, options), { log, signal: options.signal });
    } finally {
      this.#starting.delete(key);
    }
  }

  find(namespace: Namespace, id: string): ShimInstance | undefined {
    return this.#instances.get(`${namespace}/${id}`);
  }

  async remove(shim: ShimInstance, options: CallOptions & { readonly kill?: boolean } = {}): Promise<void> {
    const own = this.#instances.get(`${shim.namespace}/${shim.id}`);
    if (own === undefined || own !== shim || own.isRemoved) return;
    own.isRemoved = true;
    if (options.kill === true) await cleanUpDeadShim(this.#shims, own, this.#log);
    await this.#forget(own);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await Promise.all(this.#funerals);
    for (const shim of this.#instances.values()) await shim.resources.disposeAsync();
    this.#instances.clear();
  }

  async #start(namespace: Namespace, id: string, options: ShimStartOptions): Promise<ShimAttempt<ShimInstance>> {
    const binary = await this.#shims.resolve(options.runtime);
    await using undo = new AsyncDisposableStack();
    const bundle = await Bundle.create(this.#roots, { namespace, id }, options.spec);
    undo.defer(() => this.#deleteBundle(bundle));
    const resources = undo.use(new AsyncDisposableStack());
    resources.use(copyShimLog(bundle, this.#log));
    const { options: runtimeOptions, signal } = options;
    const started = await startShim(this.#shims, bundle, binary, { options: runtimeOptions, signal, alone: true });
    if ("shimEnded" in started) return started;
    const connection = resources.use(started.made);
    undo.move();
    return { made: this.#register(new BundledShim(bundle, binary, connection, resources)) };
  }

  #register(shim: BundledShim): BundledShim {
    const { bundle, connection } = shim;
    this.#instances.set(`${bundle.namespace}/${bundle.id}`, shim);
    this.#shims.sandboxEndpoints.set(`${bundle.namespace}/${bundle.id}`, connection.endpoint);
    const lost = connection.onClosed(() => {
      if (shim.isRemoved || this.#isDisposed) return;
      const funeral = this.#bury(shim)
        .catch((error: unknown) => this.#log.error("dead shim not cleaned up", { id: shim.id, error }))
        .finally(() => this.#funerals.delete(funeral));
      this.#funerals.add(funeral);
    });
    shim.resources.use(lost);
    return shim;
  }

  /** The connection is lost: that is taken as the death of the shim. */
  async #bury(shim: BundledShim): Promise<void> {
    this.#log.info("shim disconnected", { namespace: shim.namespace, id: shim.id });
    shim.isRemoved = true;
    const { exit } = await cleanUpDeadShim(this.#shims, shim, this.#log);
    await this.#forget(shim);
    shim.lostExit.resolve({ ...exit, exitedAtNs: exit.exitedAtNs || nowNs() });
  }

  async #forget(shim: BundledShim): Promise<void> {
    const key = `${shim.namespace}/${shim.id}`;
    await shim.resources.disposeAsync();
    await this.#deleteBundle(shim.bundle);
    this.#instances.delete(key);
    this.#shims.sandboxEndpoints.delete(key);
  }

  async #deleteBundle(bundle: Bundle): Promise<void> {
    try {
      await bundle.delete({ signal: AbortSignal.timeout(this.#shims.timeouts.cleanupMs) });
    } catch (error) {
      this.#log.error("failed to delete bundle", { namespace: bundle.namespace, id: bundle.id, error });
    }
  }

  async #load(bundle: Bundle, isWanted: ShimBundlesOptions["isWanted"]): Promise<void> {
    if ((await readdir(bundle.path)).length === 0) return await this.#deleteBundle(bundle);
    const binary = await bundle.findShimPath();
    await using resources = new AsyncDisposableStack();
    const connection = resources.use(await this.#connect(bundle));
    const wanted = connection !== undefined && (await isWanted(bundle.namespace, bundle.id));
    if (connection === undefined || !wanted) {
      await resources.disposeAsync();
      await cleanUpDeadShim(this.#shims, { bundle, binary }, this.#log);
      return await this.#deleteBundle(bundle);
    }
    resources.use(copyShimLog(bundle, this.#log));
    this.#register(new BundledShim(bundle, binary, connection, resources.move()));
  }

  async #connect(bundle: Bundle): Promise<ShimConnection | undefined> {
    try {
      const { loadMs } = this.#shims.timeouts;
      return await this.#shims.connections.connect(await bundle.readEndpoint(), bundle.namespace, loadMs);
    } catch (error) {
      this.#log.debug("shim does not answer", { namespace: bundle.namespace, id: bundle.id, error });
      return undefined;
    }
  }
}
