import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ResourceCollector } from "@berth/core/collector";
import { KeyedLock } from "@berth/core/keyed-lock";
import { noLabels, validateLabels } from "@berth/core/labels";
import { type Logger, silentLogger } from "@berth/core/log";
import type { NamespaceOptions } from "@berth/core/metadata";
import type {
  ActivateOptions,
  ActivationInfo,
  ActiveMount,
  Mount,
  MountHandler,
  MountManager,
} from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";
import {
  alreadyExists,
  failedPrecondition,
  invalidArgument,
  notFound,
  systemErrorCode,
  unimplemented,
} from "@berth/errors";
import { isMountedBelow } from "@berth/linux/mount";

import { ActivationDirectory, type RemoveOptions } from "./activation-directory.ts";
import type { ActivationName, Activations } from "./activations.ts";
import { createMountCollector } from "./mount-collector.ts";
import { NamespacedMountManager } from "./namespaced-mount-manager.ts";
import { type ActivationPlan, planActivation } from "./plan-activation.ts";
import { type Activation, activationInfo } from "./store/activation.ts";
import { ActivationStore } from "./store/activation-store.ts";
import { AllowedRoots } from "./transformations/allowed-roots.ts";
import { createFileSystemMaker } from "./transformations/make-file-system.ts";
import { transform } from "./transformations/transformation.ts";

/** Options of {@link LocalMountManager.open}. */
export interface MountManagerOptions {
  /** Holds the database and the mount points; made when missing. It must not outlive a reboot with anything mounted in it. */
  readonly stateDir: string;
  /** By the type of mount that each makes. */
  readonly handlers: ReadonlyMap<string, MountHandler>;
  /** Directories below which `mkfs/` and `mkdir/` may make something, besides the mount points themselves. */
  readonly allowedRoots?: readonly string[];
  readonly log?: Logger;
  /** Called once when the database cannot be trusted any more: the program must stop, and its next start recovers. */
  readonly fatal?: (error: Error) => void;
}

/** A list of mounts longer than any overlay can take. */
const MAX_MOUNTS = 1024;
const MAX_NAME_BYTES = 32_768;
/** A mount that an earlier try could not take away is tried this long each time. */
const STALE_PATIENCE_MS = 200;

interface Parts {
  readonly options: MountManagerOptions;
  readonly store: ActivationStore;
  readonly targets: string;
  readonly lastId: number;
}

/**
 * Makes mounts, remembers them, and takes them away, for all namespaces. A record is written when all mounts of an activation are
 * there: mounts without one are left over, and are taken away at the next start and after each collection.
 *
 * Calls for one name run one after the other. Disposing leaves the mounts alone.
 *
 * @see containerd core/mount/manager/manager.go
 */
export class LocalMountManager implements Activations, AsyncDisposable {
  /** For the garbage collector. */
  readonly collector: ResourceCollector;
  readonly store: ActivationStore;
  readonly #handlers: ReadonlyMap<string, MountHandler>;
  readonly #log: Logger;
  readonly #targets: string;
  readonly #roots: AllowedRoots;
  readonly #makeFileSystem = createFileSystemMaker();
  readonly #locks = new KeyedLock();
  readonly #held = new Set<number>();
  /** Ids whose directories are being filled or emptied. */
  readonly #busy = new Set<number>();
  #lastId: number;

  private constructor({ options, store, targets, lastId }: Parts) {
    this.store = store;
    this.#handlers = options.handlers;
    this.#log = options.log ?? silentLogger;
    this.#targets = targets;
    this.#roots = new AllowedRoots([targets, ...(options.allowedRoots ?? [])]);
    this.#lastId = lastId;
    this.collector = createMountCollector(this, this.#log);
  }

  /**
   * This opens the manager of a directory. Records whose mounts are not there any more, as after a reboot, are dropped; mounts that
   * no record speaks of, as after a crash, are taken away.
   *
   * @throws failed_precondition - the database was written by a newer version
   */
  static async open(options: MountManagerOptions): Promise<LocalMountManager> {
    const targets = join(options.stateDir, "t");
    await mkdir(targets, { recursive: true, mode: 0o700 });
    await using opened = new AsyncDisposableStack();
    const store = opened.use(await ActivationStore.open({ ...options, path: join(options.stateDir, "mounts.mdb") }));
    const lastId = Math.max(store.lastId, ...(await listIds(targets)));
    const manager = new LocalMountManager({ options, store, targets, lastId });
    await manager.#dropLost();
    await manager.removeStale();
    opened.move();
    return manager;
  }

  /** This gives the mount manager of a namespace; it holds nothing that needs disposal. */
  namespace(namespace: Namespace, options: NamespaceOptions = {}): MountManager {
    return new NamespacedMountManager(this, namespace, options.lease ?? "");
  }

  async activate(
    place: ActivationName & { readonly lease: string },
    mounts: readonly Mount[],
    options: ActivateOptions,
  ): Promise<ActivationInfo> {
    const { temporary = false, allowMountTypes = [], labels = noLabels, held = false, signal } = options;
    checkRequest(place.name, mounts);
    validateLabels(labels);
    const plan = planActivation(mounts, { handlers: this.#handlers, temporary, allowMountTypes });
    if (plan === undefined) throw unimplemented("no mount needs the mount manager");
    using _lock = await this.#lock(place, { signal });
    if (this.store.find(place.namespace, place.name) !== undefined) throw alreadyExists(`mount ${quote(place.name)}`);
    const id = ++this.#lastId;
    using _busy = this.#hold(id);
    await using undo = new AsyncDisposableStack();
    const directory = this.#directory(id);
    await directory.create();
    undo.defer(() => this.#removeOrLog(directory, {}));
    const createdAt = Date.now();
    const { active, system } = await this.#make(plan, directory, { signal });
    signal?.throwIfAborted();
    const activation = { ...place, id, labels, createdAt, updatedAt: Date.now(), active, system };
    // Before a collection can see it.
    if (held) this.#held.add(id);
    undo.defer(() => void this.#held.delete(id));
    await this.store.put(activation);
    undo.move();
    return activationInfo(activation);
  }

  async deactivate(place: ActivationName, options: CallOptions = {}): Promise<void> {
    using _lock = await this.#lock(place, options);
    const activation = this.store.find(place.namespace, place.name);
    if (activation === undefined) throw notFound(`mount ${quote(place.name)}`);
    await this.#deactivate(activation, options);
  }

  async deactivateIfSame(activation: Activation): Promise<void> {
    using _lock = await this.#lock(activation);
    const { namespace, name, id } = activation;
    if (this.store.find(namespace, name)?.id === id) await this.#deactivate(activation, {});
  }

  isHeld({ id }: Activation): boolean {
    return this.#held.has(id);
  }

  async removeStale(): Promise<void> {
    const known = new Set(this.store.all().map(({ id }) => id));
    for (const id of await listIds(this.#targets)) {
      // An activation that has begun meanwhile is busy, or known by the time it no longer is.
      if (known.has(id) || this.#busy.has(id) || this.store.all().some((each) => each.id === id)) continue;
      using _busy = this.#hold(id);
      await this.#removeOrLog(this.#directory(id), { patienceMs: STALE_PATIENCE_MS });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }

  async #make(
    plan: ActivationPlan,
    directory: ActivationDirectory,
    { signal }: CallOptions,
  ): Promise<{ readonly active: readonly ActiveMount[]; readonly system: readonly Mount[] }> {
    const active: ActiveMount[] = [];
    const context = { active, roots: this.#roots, makeFileSystem: this.#makeFileSystem, signal };
    const count = plan.made.length;
    for (const { mount, transformations, handler } of plan.made) {
      const transformed = await transform(mount, transformations, context);
      const remaining = count - active.length - 1;
      active.push(await directory.mount(transformed, handler, { active, remaining, count, signal }));
    }
    const { first, rest } = plan;
    if (first !== undefined)
      return { active, system: [await transform(first.mount, first.transformations, context), ...rest] };
    // Everything is mounted: what the caller needs is a way to the last of it.
    const source = active.at(-1)?.mountPoint ?? "";
    return { active, system: [{ type: "bind", source, target: "", options: ["rbind"] }] };
  }

  /** The record goes first: a crash, or a mount that is in use, leaves mounts that are found by their directory. */
  async #deactivate(activation: Activation, options: CallOptions): Promise<void> {
    using _busy = this.#hold(activation.id);
    await this.store.remove(activation);
    this.#held.delete(activation.id);
    try {
      await this.#directory(activation.id).remove(options);
    } catch (error) {
      if (systemErrorCode(error) !== "EBUSY") throw error;
      throw failedPrecondition(`mount ${quote(activation.name)} is in use`, { cause: error });
    }
  }

  async #dropLost(): Promise<void> {
    for (const activation of this.store.all()) {
      if (await this.#isThere(activation)) continue;
      const { namespace, name } = activation;
      this.#log.info("mounts of an activation are gone", { namespace, name });
      await this.store.remove(activation);
    }
  }

  async #isThere({ active }: Activation): Promise<boolean> {
    for (const { type, mountPoint } of active) {
      const handler = this.#handlers.get(type);
      if (!(await (handler?.isMounted(mountPoint) ?? isMountedBelow(mountPoint)))) return false;
    }
    return true;
  }

  async #removeOrLog(directory: ActivationDirectory, options: RemoveOptions): Promise<void> {
    try {
      await directory.remove(options);
    } catch (error) {
      this.#log.warn("mounts left over cannot be taken away yet", { path: directory.path, error });
    }
  }

  #directory(id: number): ActivationDirectory {
    return new ActivationDirectory({ path: join(this.#targets, String(id)), handlers: this.#handlers });
  }

  #lock({ namespace, name }: ActivationName, options?: CallOptions): Promise<Disposable> {
    return this.#locks.acquire(`${namespace}/${name}`, options);
  }

  #hold(id: number): Disposable {
    this.#busy.add(id);
    return { [Symbol.dispose]: () => void this.#busy.delete(id) };
  }
}

function checkRequest(name: string, mounts: readonly Mount[]): void {
  if (name === "") throw invalidArgument("a mount must have a name");
  if (Buffer.byteLength(name) > MAX_NAME_BYTES)
    throw invalidArgument(`name of a mount exceeds ${MAX_NAME_BYTES} bytes`);
  if (mounts.length > MAX_MOUNTS) throw invalidArgument(`${mounts.length} mounts are more than ${MAX_MOUNTS}`);
}

async function listIds(targets: string): Promise<number[]> {
  const names = await readdir(targets);
  return names.filter((name) => /^\d{1,15}$/.test(name)).map(Number);
}

function quote(name: string): string {
  return JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);
}
