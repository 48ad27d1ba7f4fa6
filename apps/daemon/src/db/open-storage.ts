import { stat } from "node:fs/promises";
import { join } from "node:path";

import { createLocalContentStore } from "@berth/content";
import { silentLogger } from "@berth/core/log";
import { failedPrecondition, messageOf, wrapError } from "@berth/errors";
import type { OfflineStorage } from "@berth/metadata/offline";
import { bootPlugins } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";

import type { DaemonConfig } from "../config/daemon-config.ts";
import { lockRoot } from "../directories.ts";
import { daemonPlugins } from "../plugins.ts";

/** The storage of a daemon that does not run, and what of it cannot be looked at. */
export interface LockedStorage extends OfflineStorage, AsyncDisposable {
  /** Snapshotters that did not load, with the reason. */
  readonly missing: ReadonlyMap<string, string>;
}

const CONTENT = "io.containerd.content.v1.content";

/**
 * This locks the root, as a daemon does, and opens the backends below it. Disposing the result gives up the lock.
 *
 * @throws not_found - there is no such root
 * @throws failed_precondition - a daemon has it, or its content is in another process
 */
export async function openLockedStorage(config: DaemonConfig, signal: AbortSignal): Promise<LockedStorage> {
  const { root, state } = config;
  try {
    await stat(root);
  } catch (error) {
    throw wrapError(error, "open root");
  }
  if (config.disabled_plugins.includes(CONTENT)) {
    throw failedPrecondition(`${CONTENT} is disabled: content that another process keeps cannot be looked at`);
  }
  await using opened = new AsyncDisposableStack();
  opened.use(await lockRoot(root));
  const graph = opened.use(
    await bootPlugins({
      plugins: daemonPlugins(config).filter(({ type }) => type === SnapshotPlugin),
      disabled: config.disabled_plugins,
      config: new Map(Object.entries(config.plugins)),
      root,
      state,
      grpcAddress: "",
      ttrpcAddress: "",
      log: silentLogger,
      signal,
      // A database that fails is told by the call that it fails.
      fatal: () => {},
    }),
  );
  // Not as a plugin, which begins to look into what an unclean stop left: that is for the daemon.
  const content = await createLocalContentStore({ root: join(root, CONTENT) });
  const failed = graph.records.filter(({ status }) => status === "failed");
  const owned = opened.move();
  return {
    path: join(root, "io.containerd.metadata.v1.bolt", "meta.mdb"),
    content,
    snapshotters: graph.loaded(SnapshotPlugin),
    missing: new Map(failed.map(({ id, error }) => [id, messageOf(error)])),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
