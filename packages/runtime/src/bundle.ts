import {
  chmodSync,
  chownSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { chmod, mkdir, readFile, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import type { AnyValue, CallOptions } from "@berth/core/any";
import { type Namespace, validateIdentifier } from "@berth/core/namespaces";
import type { ShimEndpoint } from "@berth/core/shims";
import { alreadyExists, ignoreNotFound, systemErrorCode, wrapError } from "@berth/errors";
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

// The state directory is in memory (`/run`), as a rule, and a call there takes microseconds: fewer than a turn of the thread pool. What
// lies below the root is on a disk, and never holds the main thread.

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
    mkdirSync(dirname(bundle.path), { recursive: true, mode: 0o711 });
    makeStateDirectory(bundle.path, 0o700);
    undo.defer(() => rmSync(bundle.path, { recursive: true, force: true }));
    undo.defer(() => rm(bundle.workPath, { recursive: true, force: true }));
    makeStateDirectory(join(bundle.path, "rootfs"), 0o711);
    symlinkSync(bundle.workPath, join(bundle.path, "work"));
    if (spec !== undefined) bundle.#writeSpec(spec);
    await makeFreshDirectory(bundle.workPath, 0o711);
    undo.move();
    return bundle;
  }

  #writeSpec({ value }: AnyValue): void {
    writeFileSync(join(this.path, "config.json"), value, { mode: 0o666 });
    const gid = mappedRootGid(value);
    if (gid === undefined) return;
    chownSync(this.path, -1, gid);
    chmodSync(this.path, 0o710);
  }

  /** This notes how to talk to the shim, for the next start of the daemon. */
  writeEndpoint(endpoint: ShimEndpoint): void {
    const target = join(this.path, "bootstrap.json");
    const temporary = join(this.path, ".bootstrap.json");
    writeFileSync(temporary, formatEndpoint(endpoint), { mode: 0o644 });
    renameSync(temporary, target);
  }

  /** This reads what {@link writeEndpoint} wrote, or the `address` that old shims leave. @throws not_found, invalid_argument */
  async readEndpoint(): Promise<ShimEndpoint> {
    try {
      return parseEndpoint(await readFile(join(this.path, "bootstrap.json"), "utf8"));
    } catch (error) {
      ignoreNotFound(error);
    }
    const address = (await readFile(join(this.path, "address"), "utf8")).trim();
    const endpoint = parseEndpoint(JSON.stringify({ version: 2, address, protocol: "ttrpc" }));
    this.writeEndpoint(endpoint);
    return endpoint;
  }

  writeShimPath(binary: string): void {
    writeFileSync(join(this.path, "shim-binary-path"), binary, { mode: 0o600 });
  }

  /** This reads which binary started the shim; `undefined` where nobody noted it. */
  findShimPath(): Promise<string | undefined> {
    return readIfThere(join(this.path, "shim-binary-path"));
  }

  /** This notes the sandbox whose shim the task shares. */
  writeSandboxId(sandboxId: string): void {
    writeFileSync(join(this.path, "sandbox"), sandboxId, { mode: 0o600 });
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
      // That succeeds where nothing is mounted, as it is when the shim did its part, and saves reading all mounts of the machine.
      if (!removedIfUnused(rootfs)) {
        await unmountRecursive(rootfs, options.signal === undefined ? {} : { signal: options.signal });
        removeEmpty(rootfs);
      }
    } catch (error) {
      throw wrapError(error, `delete bundle ${this.path}`);
    }
    const work = this.#workLink();
    removeBundle(this.path);
    // A link that leads elsewhere was not made by us.
    if (work === this.workPath) await removeAtomically(work);
  }

  #workLink(): string {
    try {
      return readlinkSync(join(this.path, "work"));
    } catch {
      return this.workPath;
    }
  }
}

function removedIfUnused(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch {
    return false;
  }
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    ignoreNotFound(error);
  }
}

/** See {@link removeAtomically}. */
function removeBundle(path: string): void {
  const hidden = hiddenName(path);
  try {
    renameSync(path, hidden);
  } catch (error) {
    if (!isOccupied(error)) return ignoreNotFound(error);
    rmSync(hidden, { recursive: true, force: true });
    renameSync(path, hidden);
  }
  rmSync(hidden, { recursive: true, force: true });
}

/** This removes a directory so that a half removed one never goes by its name. */
export async function removeAtomically(path: string): Promise<void> {
  const hidden = hiddenName(path);
  try {
    // as most of them are: empty
    await rmdir(path);
    return;
  } catch (error) {
    if (!isOccupied(error)) return ignoreNotFound(error);
  }
  await rm(hidden, { recursive: true, force: true });
  await rename(path, hidden).catch(ignoreNotFound);
  await rm(hidden, { recursive: true, force: true });
}

function hiddenName(path: string): string {
  return join(dirname(path), `.${basename(path)}`);
}

/** Whether a directory holds something: a name may also be half removed since an earlier daemon ended. */
function isOccupied(error: unknown): boolean {
  return ["ENOTEMPTY", "EEXIST"].includes(systemErrorCode(error) ?? "");
}

/** This makes an empty directory, whatever was there, and those above it. */
async function makeFreshDirectory(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") await rm(path, { recursive: true, force: true });
    else if (systemErrorCode(error) === "ENOENT") await mkdir(dirname(path), { recursive: true, mode });
    else throw error;
    await mkdir(path, { mode });
  }
  await chmod(path, mode);
}

/** `mkdir` with a mode that the umask does not reduce. @throws already_exists */
function makeStateDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") throw alreadyExists(`directory ${path} exists`, { cause: error });
    throw error;
  }
  chmodSync(path, mode);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "utf8")).trim() || undefined;
  } catch (error) {
    return ignoreNotFound(error);
  }
}
