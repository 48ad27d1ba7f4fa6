import { existsSync } from "node:fs";
import { chmod, lchown, mkdir, open } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import { failedPrecondition, resourceExhausted, wrapError } from "@berth/errors";
import { isMountPoint, mountAll, unmountAll } from "@berth/linux/mount";
import { findProgram, runProgram } from "@berth/linux/process";

import type { TreeWorkers } from "../tree-workers.ts";
import type { Owner } from "./id-mapping.ts";

const IMAGE = "limit.img";
const MOUNTED = "limit";
const MKFS_TIMEOUT_MS = 10 * 60_000;
/** No blocks are kept for root, who is who writes; what is zero is not written. */
const MKFS_OPTIONS = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"];
/** What is deleted is given back; nothing is written that nobody wrote. */
const MOUNT_OPTIONS = ["discard", "noinit_itable"];

/**
 * The writable layer of a snapshot with a limit: `limit.img` in the directory of the snapshot, a sparse file with an ext4 of that
 * size, mounted at `limit` beside it as long as the snapshot is active. It holds `fs` and `work`.
 *
 * Whether a snapshot has one is told by the file, not by the label, which can be changed.
 */
export class LimitedLayer {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  get exists(): boolean {
    return existsSync(this.#image);
  }

  get upper(): string {
    return join(this.#mounted, "fs");
  }

  get work(): string {
    return join(this.#mounted, "work");
  }

  /**
   * This makes and mounts it.
   * @throws failed_precondition - mkfs.ext4 is not installed
   * @throws resource_exhausted - the size is too small for a file system
   */
  async make(size: number, owner: Owner | undefined, options: CallOptions): Promise<void> {
    const mkfs = findProgram("mkfs.ext4");
    if (mkfs === undefined)
      throw failedPrecondition("mkfs.ext4 is not installed; it is needed to limit the size of a layer");
    {
      await using file = await open(this.#image, "wx", 0o600);
      await file.truncate(size);
    }
    const run = { path: mkfs, args: [...MKFS_OPTIONS, this.#image], timeoutMs: MKFS_TIMEOUT_MS };
    const { status, output } = await runProgram({ ...run, signal: options.signal });
    if (status !== 0) throw resourceExhausted(`make a layer of ${size} bytes: ${output.trim()}`);
    await mkdir(this.#mounted, { mode: 0o700 });
    await this.mount();
    await chmod(this.#mounted, 0o700);
    await mkdir(this.upper, { mode: 0o755 });
    await mkdir(this.work, { mode: 0o711 });
    if (owner !== undefined) await lchown(this.upper, owner.uid, owner.gid);
  }

  /**
   * This mounts it where it is not mounted. One call at a time: another would put a second mount on the first. A container whose
   * overlay lies on it holds the file system, even where the mount was taken away; it is the same one then.
   */
  async mount(): Promise<void> {
    if (isMountPoint(this.#mounted)) return;
    try {
      await mountAll([{ type: "ext4", source: this.#image, options: ["loop", ...MOUNT_OPTIONS] }], this.#mounted);
    } catch (error) {
      throw wrapError(error, `mount ${this.#image}`);
    }
  }

  /** This takes the mount away. @throws EBUSY - somebody uses it by its path */
  async unmount(options: CallOptions = {}): Promise<void> {
    await unmountAll(this.#mounted, options.signal === undefined ? {} : { signal: options.signal });
  }

  /** This unmounts and removes it. */
  async remove(trees: TreeWorkers): Promise<void> {
    await this.unmount();
    await trees.remove(this.#mounted);
    await trees.remove(this.#image);
  }

  get #image(): string {
    return join(this.#directory, IMAGE);
  }

  get #mounted(): string {
    return join(this.#directory, MOUNTED);
  }
}
