import { chmod, chown, mkdir, readFile, readlink, rename, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { AnyValue, CallOptions } from "@berth/core/any";
import { type Namespace, validateIdentifier } from "@berth/core/namespaces";
import type { ShimEndpoint } from "@berth/core/shims";
import { alreadyExists, isAlreadyExists, systemErrorCode, wrapError } from "@berth/errors";
import { unmountRecursive } from "@berth/linux/mount";

import { formatEndpoint, parseEndpoint } from "./shim-endpoint.ts";
import { mappedRootGid } from "./mapped-root.ts";

/** The two directories below which bundles lie: `<state>/io.containerd.runtime.v2.task` and the same below the root. */
export interface BundleRoots {
  readonly stateDir: string;
  readonly rootDir: string;
}

/** What names a bundle. */
export interface BundleName {
  readonly namespace: Namespace;
  readonly id: string;
}

/**
 * The directory of one task, laid out as containerd does, so that any shim finds its way in it.
 *
 * @see containerd core/runtime/v2/bundle.go
 */
export class Bundle {
  readonly namespace: Namespace;
  readonly id: string;
  readonly path: string;
  /** The half that may stay over a reboot; the bundle has it as the link `work`. */
  readonly workPath: string;

  constructor(roots: BundleRoots, { namespace, id }: BundleName) {
    this.namespace = namespace;
    this.id = id;
    this.path = join(roots.stateDir, namespace, id);
    this.workPath = join(roots.rootDir, namespace, id);
  }

  /** The shim's log is read from this FIFO. */
  get logPath(): string {
    return join(this.path, "log");
  }

  /**
   * This makes the directories and writes `config.json`, the bytes of the spec as they are, where there is one; nothing is left when it fails.
   *
   * @throws invalid_argument - the id is no identifier
   * @throws already_exists - there is a bundle of that name
   */
  static async create(roots: BundleRoots, name: BundleName, spec: AnyValue | undefined): Promise<Bundle> {
    validateIdentifier(name.id, "task id");
    const bundle = new Bundle(roots, name);
    await using undo = new AsyncDisposableStack();
    await mkdir(dirname(bundle.path), { recursive: true, mode: 0o711 });
    await makeDirectory(bundle.path, 0o700);
    undo.defer(() => rm(bundle.path, { recursive: true, force: true }));
    undo.defer(() => rm(bundle.workPath, { recursive: true, force: true }));
    // Each call is a turn of the thread pool, and a container waits for the longest row of them.
    await allDone([
      makeDirectory(join(bundle.path, "rootfs"), 0o711),
      makeFreshDirectory(bundle.workPath),
      symlink(bundle.workPath, join(bundle.path, "work")),
      ...(spec === undefined ? [] : [bundle.#writeSpec(spec)]),
    ]);
    undo.move();
    return bundle;
  }

  async #writeSpec({ value }: AnyValue): Promise<void> {
    await writeFile(join(this.path, "config.json"), value, { mode: 0o666 });
    const gid = mappedRootGid(value);
    if (gid === undefined) return;
    await chown(this.path, -1, gid);
    await chmod(this.path, 0o710);
  }

  /** This notes how to talk to the shim, for the next start of the daemon. */
  async writeEndpoint(endpoint: ShimEndpoint): Promise<void> {
    const target = join(this.path, "bootstrap.json");
    const temporary = join(this.path, ".bootstrap.json");
    await writeFile(temporary, formatEndpoint(endpoint), { mode: 0o644 });
    await rename(temporary, target);
  }

  /** This reads what {@link writeEndpoint} wrote, or the `address` that old shims leave. @throws not_found, invalid_argument */
  async readEndpoint(): Promise<ShimEndpoint> {
    try {
      return parseEndpoint(await readFile(join(this.path, "bootstrap.json"), "utf8"));
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
    }
    const address = (await readFile(join(this.path, "address"), "utf8")).trim();
    const endpoint = parseEndpoint(JSON.stringify({ version: 2, address, protocol: "ttrpc" }));
    await this.writeEndpoint(endpoint);
    return endpoint;
  }

  async writeShimPath(binary: string): Promise<void> {
    await writeFile(join(this.path, "shim-binary-path"), binary, { mode: 0o600 });
  }

  /** This reads which binary started the shim; `undefined` where nobody noted it. */
  findShimPath(): Promise<string | undefined> {
    return readIfThere(join(this.path, "shim-binary-path"));
  }

  /** This notes the sandbox whose shim the task shares. */
  async writeSandboxId(sandboxId: string): Promise<void> {
    await writeFile(join(this.path, "sandbox"), sandboxId, { mode: 0o600 });
  }

  findSandboxId(): Promise<string | undefined> {
    return readIfThere(join(this.path, "sandbox"));
  }

  /**
   * This unmounts the root file system and removes both directories; what is gone already is fine. A root file system that
   * is not empty once unmounted is left alone, with an error: its files belong to someone.
   */
  async delete(options: CallOptions = {}): Promise<void> {
    const rootfs = join(this.path, "rootfs");
    try {
      await unmountRecursive(rootfs, options.signal === undefined ? {} : { signal: options.signal });
      await rmdir(rootfs).catch(ignoreMissing);
    } catch (error) {
      throw wrapError(error, `delete bundle ${this.path}`);
    }
    const work = await readlink(join(this.path, "work")).catch(() => this.workPath);
    // A link that leads elsewhere was not made by us.
    await allDone([removeAtomically(this.path), ...(work === this.workPath ? [removeAtomically(work)] : [])]);
  }
}

/** This removes a directory so that a half removed one never goes by its name. */
export async function removeAtomically(path: string): Promise<void> {
  const hidden = join(dirname(path), `.${path.slice(dirname(path).length + 1)}`);
  try {
    await renameOver(path, hidden);
  } catch (error) {
    return ignoreMissing(error);
  }
  await rm(hidden, { recursive: true, force: true });
}

/** The target may be there, half removed when an earlier daemon ended. */
async function renameOver(path: string, target: string): Promise<void> {
  try {
    await rename(path, target);
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST"].includes(systemErrorCode(error) ?? "")) throw error;
    await rm(target, { recursive: true, force: true });
    await rename(path, target);
  }
}

/** This makes an empty directory, whatever was there, and those above it. */
async function makeFreshDirectory(path: string): Promise<void> {
  try {
    await makeDirectory(path, 0o711);
  } catch (error) {
    if (isAlreadyExists(error)) await rm(path, { recursive: true, force: true });
    else if (systemErrorCode(error) === "ENOENT") await mkdir(dirname(path), { recursive: true, mode: 0o711 });
    else throw error;
    await makeDirectory(path, 0o711);
  }
}

/** This waits for all, also when one fails: what is undone then must not be going on. */
async function allDone(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === "rejected") throw result.reason;
}

/** `mkdir` with a mode that the umask does not reduce. @throws already_exists */
async function makeDirectory(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") throw alreadyExists(`directory ${path} exists`, { cause: error });
    throw error;
  }
  await chmod(path, mode);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "utf8")).trim() || undefined;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function ignoreMissing(error: unknown): void {
  if (systemErrorCode(error) !== "ENOENT") throw error;
}
