import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { arePlain, type Mount, type MountManager, MountLabel } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";
import { ignoreNotFound, isAlreadyExists, isNotFound, isUnimplemented, wrapError } from "@berth/errors";

import type { BundleName } from "./bundle.ts";

/** What {@link RootfsMounts} works with. */
export interface RootfsMountsOptions {
  /** Without one, shims get all mounts as they are. */
  readonly managerFor: ((namespace: Namespace) => MountManager) | undefined;
  /** This tells the types of mounts that a shim makes itself, though there is a handler for them. */
  readonly allowedTypes: (binary: string) => Promise<readonly string[]>;
  readonly log: Logger;
}

/**
 * Makes those mounts of the root file system of tasks that shims cannot make. An activation goes by the id of its task, and lives
 * no longer than the container.
 *
 * @see containerd core/runtime/v2/task_manager.go, Create
 */
export class RootfsMounts {
  readonly #options: RootfsMountsOptions;

  constructor(options: RootfsMountsOptions) {
    this.#options = options;
  }

  /** This returns what is left to the shim. A task of that name must not exist. */
  async activate(
    { namespace, id }: BundleName,
    rootfs: readonly Mount[],
    { binary, signal }: CallOptions & { readonly binary: string },
  ): Promise<readonly Mount[]> {
    const manager = this.#options.managerFor?.(namespace);
    if (manager === undefined || arePlain(rootfs)) return rootfs;
    const labels = new Map([[MountLabel.containerBackReference, id]]);
    const options = { labels, allowMountTypes: await this.#options.allowedTypes(binary), signal };
    try {
      return (await activateAnew(manager, id, rootfs, options)).system;
    } catch (error) {
      if (isUnimplemented(error)) return rootfs;
      throw wrapError(error, `activate mounts of task ${id}`);
    }
  }

  /** This takes away what was made for a task; nothing is fine. It never throws: what cannot be taken away is collected later. */
  async release({ namespace, id }: BundleName, options?: CallOptions): Promise<void> {
    try {
      await this.#options.managerFor?.(namespace).deactivate(id, options);
    } catch (error) {
      if (!isNotFound(error)) this.#options.log.error("failed to deactivate mounts", { namespace, id, error });
    }
  }
}

/** No task has this name, so an activation of it was left over by an earlier one, maybe of other mounts. */
async function activateAnew(
  manager: MountManager,
  name: string,
  mounts: readonly Mount[],
  options: Parameters<MountManager["activate"]>[2],
): ReturnType<MountManager["activate"]> {
  try {
    return await manager.activate(name, mounts, options);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  await manager.deactivate(name, options).catch(ignoreNotFound);
  return await manager.activate(name, mounts, options);
}
