import { mkdir, rmdir } from "node:fs/promises";

import { noData } from "../active-mount.ts";
import type { CallOptions } from "@berth/core/any";
import type { ActiveMount, Mount, MountHandler } from "@berth/core/mount";
import { failedPrecondition, invalidArgument, isSystemError, systemErrorCode } from "@berth/errors";
import { attachLoopDevice, isMountPoint, mountAll, mountByContext, unmountAll } from "@berth/linux/mount";

const DMVERITY = "X-containerd.dmverity=";
const DEVICE = "device=";

/**
 * This makes the handler of EROFS images. From Linux 6.12 on the kernel mounts their files as they are; before, or where it was built
 * without that, each gets a loop device, which goes with the mount.
 *
 * @see containerd plugins/mount/erofs/plugin_linux.go
 */
export function createErofsHandler(): MountHandler {
  let takesFiles = true;

  const mountFiles = (mount: Mount, mountPoint: string): boolean => {
    if (!takesFiles) return false;
    try {
      mountByContext(mount, mountPoint);
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
      const made = mountFiles(mount, mountPoint) ? mount : mountLoops(mount, mountPoint);
      undo.move();
      return { ...made, mountPoint, mountedAt: Date.now(), data: noData };
    },
    async unmount(mountPoint: string, options: CallOptions = {}): Promise<void> {
      await unmountAll(mountPoint, options.signal === undefined ? {} : { signal: options.signal });
      await rmdir(mountPoint).catch(ignoreMissing);
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

function mountLoops(mount: Mount, mountPoint: string): Mount {
  using devices = new DisposableStack();
  const attach = (file: string): string => devices.use(attachLoopDevice(file, { readOnly: true })).path;
  const options = mount.options.map((option) =>
    option.startsWith(DEVICE) ? `${DEVICE}${attach(option.slice(DEVICE.length))}` : option,
  );
  const made = { ...mount, source: attach(mount.source), options };
  mountAll([{ ...made, target: "" }], mountPoint);
  return made;
}

function ignoreMissing(error: unknown): void {
  if (!(isSystemError(error) && error.code === "ENOENT")) throw error;
}
