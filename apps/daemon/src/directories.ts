import { chmod, open, readdir, realpath, rmdir, stat } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";

import type { Logger } from "@berth/core/log";
import { makeDirectories } from "@berth/core/make-directories";
import { failedPrecondition, invalidArgument, isNotFound, messageOf, wrapError } from "@berth/errors";
import { flock } from "@berth/linux/files";
import { unmountRecursive } from "@berth/linux/mount";

/** Directories of the daemon that have been made and locked; disposing them gives up the lock. */
export interface DaemonDirectories extends AsyncDisposable {
  readonly root: string;
  readonly state: string;
  /** Where mounts are made that must not outlive what they are for. */
  readonly temporaryMounts: string;
}

/**
 * This makes root (0700) and state (0711), takes the lock of the root, and clears what a crash left mounted.
 *
 * @throws invalid_argument - root or state is empty, not absolute, or both are the same directory
 * @throws failed_precondition - another daemon has this root, or it is containerd's
 */
export async function openDirectories(
  paths: { readonly root: string; readonly state: string; readonly temp: string },
  log: Logger,
): Promise<DaemonDirectories> {
  checkPaths(paths);
  await using stack = new AsyncDisposableStack();
  const root = await ensureDirectory(paths.root, 0o700);
  const state = await ensureDirectory(paths.state, 0o711);
  if (root === state) throw invalidArgument(`root and state are the same directory: ${root}`);
  await refuseForeignRoot(root);
  stack.use(await lockRoot(root));
  if (paths.temp !== "") process.env["TMPDIR"] = await ensureDirectory(paths.temp, 0o700);
  const temporaryMounts = await ensureDirectory(join(root, "tmpmounts"), 0o700);
  await clearMounts(temporaryMounts, log);
  const owned = stack.move();
  return { root, state, temporaryMounts, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function checkPaths({ root, state }: { readonly root: string; readonly state: string }): void {
  for (const [name, path] of Object.entries({ root, state })) {
    if (path === "") throw invalidArgument(`${name} must be specified`);
    if (!isAbsolute(path)) throw invalidArgument(`${name} must be an absolute path, got ${JSON.stringify(path)}`);
  }
  if (resolve(root) === resolve(state)) throw invalidArgument(`root and state must be different paths: ${root}`);
}

async function ensureDirectory(path: string, mode: number): Promise<string> {
  try {
    await makeDirectories(path, mode);
    await chmod(path, mode);
    return await realpath(path);
  } catch (error) {
    throw wrapError(error, `make directory ${path}`);
  }
}

async function refuseForeignRoot(root: string): Promise<void> {
  const database = join(root, "io.containerd.metadata.v1.bolt", "meta.db");
  const found = await stat(database).catch((error: unknown) => {
    if (isNotFound(error)) return undefined;
    throw error;
  });
  if (found !== undefined) {
    throw failedPrecondition(
      `${root} is containerd's (it holds ${database}), which berth cannot read: choose another --root`,
    );
  }
}

/**
 * This takes the lock of a root until the result is disposed.
 *
 * @throws failed_precondition - a daemon has it
 */
export async function lockRoot(root: string): Promise<AsyncDisposable> {
  const path = join(root, "berthd.lock");
  await using stack = new AsyncDisposableStack();
  const file = stack.use(await open(path, "a", 0o600));
  if (!flock(file.fd, { exclusive: true, nonBlocking: true })) {
    throw failedPrecondition(
      `another daemon is running on ${root} (it holds ${path}): stop it, or choose another --root and --state`,
    );
  }
  return stack.move();
}

async function clearMounts(directory: string, log: Logger): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    try {
      await unmountRecursive(path);
      await rmdir(path);
    } catch (error) {
      log.warn("cannot clear a temporary mount", { path, error: messageOf(error) });
    }
  }
}
