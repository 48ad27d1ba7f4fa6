import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";

import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import { isNotFound } from "@berth/errors";

import { Bundle, type BundleRoots } from "./bundle.ts";
import { listBundles, removeStaleWork } from "./bundle-directories.ts";
import { cleanUpDeadShim } from "./dead-shim.ts";
import { EndedTask } from "./ended-task.ts";
import { isInitExitSent } from "./exit-records.ts";
import type { ShimConnection } from "./shim-connection.ts";
import { copyShimLog } from "./shim-log.ts";
import type { LocalShimManager } from "./shim-manager.ts";
import { ShimTask } from "./shim-task.ts";

/** What a load needs. */
export interface LoadOptions extends CallOptions {
  readonly roots: BundleRoots;
  readonly shims: LocalShimManager;
  readonly log: Logger;
  readonly findRuntimeName: ((namespace: Namespace, id: string) => Promise<string | undefined>) | undefined;
  /** This removes a bundle with all that was made for it; it never throws. */
  readonly deleteBundle: (bundle: Bundle) => Promise<void>;
}

/**
 * This turns the bundles on disk into tasks: those of living shims, and those that ended with a record of it. Other bundles,
 * and work directories without a task, are removed. A bundle that fails does not hinder the others.
 */
export async function loadTasks(options: LoadOptions): Promise<readonly (ShimTask | EndedTask)[]> {
  const names = await listBundles(options.roots.stateDir, options.log);
  const tasks: (ShimTask | EndedTask)[] = [];
  const queue = names.values();
  const worker = async (): Promise<void> => {
    for (const name of queue) {
      options.signal?.throwIfAborted();
      const task = await loadBundle(new Bundle(options.roots, name), options);
      if (task !== undefined) tasks.push(task);
    }
  };
  // Mostly waiting for shims; more than the processors would start too many `delete` processes at once.
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  await removeStaleWork(options.roots.rootDir, new Set(tasks.map(({ bundle }) => bundle.workPath)), options.log);
  return tasks;
}

async function loadBundle(bundle: Bundle, options: LoadOptions): Promise<ShimTask | EndedTask | undefined> {
  const log = options.log.with({ namespace: bundle.namespace, id: bundle.id });
  try {
    if ((await readdir(bundle.path)).length === 0) return void (await options.deleteBundle(bundle));
    const binary = await findBinary(bundle, options);
    const task = await connect(bundle, binary, options, log);
    if (task !== undefined) return task;
    log.info("cleaning up dead shim");
    const { record } = await cleanUpDeadShim(options.shims, { bundle, binary }, log);
    if (record !== undefined) return new EndedTask(bundle, record);
    return void (await options.deleteBundle(bundle));
  } catch (error) {
    log.error("cannot load task", { error });
    return undefined;
  }
}

async function findBinary(bundle: Bundle, { shims, findRuntimeName }: LoadOptions): Promise<string | undefined> {
  const noted = await bundle.findShimPath();
  if (noted !== undefined) return noted;
  const runtime = await findRuntimeName?.(bundle.namespace, bundle.id);
  return runtime === undefined ? undefined : await shims.resolve(runtime).catch(() => undefined);
}

/** This connects to a bundle's shim; `undefined` when it is dead, or knows nothing of the task. */
async function connect(
  bundle: Bundle,
  binary: string | undefined,
  options: LoadOptions,
  log: Logger,
): Promise<ShimTask | undefined> {
  const { loadMs } = options.shims.timeouts;
  const limit = AbortSignal.timeout(loadMs);
  const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
  await using resources = new AsyncDisposableStack();
  let connection: ShimConnection;
  try {
    connection = await options.shims.connections.connect(await bundle.readEndpoint(), bundle.namespace, loadMs);
  } catch (error) {
    log.debug("shim does not answer", { error });
    return undefined;
  }
  resources.use(connection);
  const isPooled = binary !== undefined && options.shims.isPooled(binary);
  resources.use(copyShimLog(bundle, options.log, { isPooled }));
  const owned = new AsyncDisposableStack();
  const task = new ShimTask({ bundle, binary, connection, resources: owned });
  try {
    await task.connect({ signal });
    await task.state({ signal });
  } catch (error) {
    // Any other error is the shim's own trouble: it stays listed, as in containerd.
    const isGone = isNotFound(error) || limit.aborted;
    log.warn(isGone ? "shim knows nothing of its task" : "shim answers with an error", { error });
    if (isGone) {
      await task.shutdown({ timeoutMs: options.shims.timeouts.shutdownMs }).catch(() => {});
      return undefined;
    }
  }
  task.isTakenOver = true;
  task.isExitSent = isInitExitSent(bundle);
  owned.use(resources.move());
  return task;
}
