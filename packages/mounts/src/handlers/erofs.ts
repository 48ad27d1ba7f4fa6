import { mkdir, rmdir } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { ActiveMount, Mount, MountHandler } from "@berth/core/mount";
import { failedPrecondition, ignoreNotFound, invalidArgument, systemErrorCode } from "@berth/errors";
import { attachLoopDevice, isMountPoint, mountAll, mountByContext, unmountAll } from "@berth/linux/mount";

import { noData } from "../active-mount.ts";

const DMVERITY = "X-containerd.dmverity=";
const DEVICE = "device=";

/** What the kernel can do; found out at the first mount. */
export interface ErofsOptions {
  /** Whether it mounts files without a loop device. */
  readonly takesFiles?: boolean;
}

/**
 * This makes the handler of EROFS images. From Linux 6.12 on the kernel mounts their files as they are; before, or where it was built
 * without that, each gets a loop device, which goes with the mount.
 *
 * @see containerd plugins/mount/erofs/plugin_linux.go
 */
export function createErofsHandler(options: ErofsOptions = {}): MountHandler {
  let { takesFiles = true } = options;

  const mountFiles = async (mount: Mount, mountPoint: string): Promise<boolean> => {
    // Ids are mapped by a second mount over the first, which the other way knows how to make.
    if (!takesFiles || mount.options.some((option) => option.startsWith("uidmap="))) return false;
    try {
      await mountByContext(mount, mountPoint);
      return true;
    } catch (error) {
      const code = systemErrorCode(error);
      if (code !== "ENOTBLK" && code !== "ENOSYS") throw error;
      takesFiles = false;
      return false;
    }
  };

  return {
    async mount(given, mountPoint): Promise<ActiveMount> {
      const mount = { ...given, options: kernelOptions(given) };
      await mkdir(mountPoint, { mode: 0o700 });
      await using undo = new AsyncDisposableStack();
      undo.defer(() => rmdir(mountPoint));
      const made = (await mountFiles(mount, mountPoint)) ? mount : await mountLoops(mount, mountPoint);
      undo.move();
      return { ...made, mountPoint, mountedAt: Date.now(), data: noData };
    },
    async unmount(mountPoint: string, { signal }: CallOptions = {}): Promise<void> {
      await unmountAll(mountPoint, signal === undefined ? {} : { signal });
      await rmdir(mountPoint).catch(ignoreNotFound);
    },
    isMounted: async (mountPoint) => isMountPoint(mountPoint),
  };
}

function kernelOptions({ type, source, options }: Mount): string[] {
  if (type !== "erofs") throw invalidArgument(`mount of type ${type} is not for the handler of erofs`);
  const verity = options.find((option) => option.startsWith(DMVERITY));
  // What asked for verification must not be mounted without it.
  if (verity !== undefined) throw failedPrecondition(`mount ${source}: dm-verity is not supported`);
  return options.filter((option) => option !== "loop");
}

async function mountLoops(mount: Mount, mountPoint: string): Promise<Mount> {
  await using devices = new AsyncDisposableStack();
  const attach = async (file: string): Promise<string> =>
    devices.use(await attachLoopDevice(file, { readOnly: true })).path;
  const options: string[] = [];
  for (const option of mount.options) {
    const isDevice = option.startsWith(DEVICE);
    options.push(isDevice ? `${DEVICE}${await attach(option.slice(DEVICE.length))}` : option);
  }
  const made = { ...mount, source: await attach(mount.source), options };
  await mountAll([{ ...made, target: "" }], mountPoint);
  return made;
}
