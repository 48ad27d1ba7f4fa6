import { createHash } from "node:crypto";
import { readlink, symlink, unlink } from "node:fs/promises";

import type { ActiveMount, Mount, MountHandler } from "@berth/core/mount";
import { invalidArgument, systemErrorCode } from "@berth/errors";
import { attachLoopDevice, detachLoopDevice, isLoopDeviceAttached } from "@berth/linux/mount";

import { noData } from "../active-mount.ts";

const LOOP_DEVICE = /^\/dev\/loop\d+$/;

/**
 * This makes the handler of loop devices: a mount of type `loop` attaches its source, a file, and its mount point is a link to the
 * device, which stays until it is unmounted, and in use by others longer. Options: `ro`, `direct-io`.
 *
 * @see containerd core/mount/loopback_handler_linux.go
 */
export function createLoopHandler(): MountHandler {
  return {
    async mount(mount, mountPoint): Promise<ActiveMount> {
      const { readOnly, directIo } = parseOptions(mount);
      // Until it is kept, the device goes with its handle: a crash leaves none that no link leads to.
      await using device = await attachLoopDevice(mount.source, { readOnly, directIo, name: deviceName(mountPoint) });
      await symlink(device.path, mountPoint);
      await using undo = new AsyncDisposableStack();
      undo.defer(() => unlink(mountPoint));
      await device.keep();
      undo.move();
      return { ...mount, mountPoint, mountedAt: Date.now(), data: noData };
    },
    async unmount(mountPoint): Promise<void> {
      const device = await findDevice(mountPoint);
      if (device === undefined) return;
      await detachLoopDevice(device, deviceName(mountPoint));
      await unlink(mountPoint);
    },
    async isMounted(mountPoint): Promise<boolean> {
      const device = await findDevice(mountPoint);
      return device !== undefined && (await isLoopDeviceAttached(device, deviceName(mountPoint)));
    },
  };
}

/** A device carries the name of its mount point: its number may be that of another device after a reboot. */
function deviceName(mountPoint: string): string {
  return `berth:${createHash("sha256").update(mountPoint).digest("hex").slice(0, 32)}`;
}

function parseOptions({ type, options }: Mount): { readonly readOnly: boolean; readonly directIo: boolean } {
  if (type !== "loop") throw invalidArgument(`mount of type ${type} is not for the handler of loop devices`);
  const unknown = options.find((option) => !["ro", "rw", "direct-io"].includes(option));
  if (unknown !== undefined) throw invalidArgument(`loop devices know no option ${JSON.stringify(unknown)}`);
  return { readOnly: options.includes("ro"), directIo: options.includes("direct-io") };
}

/** The device that a link leads to; `undefined` where there is no link, or one that was not made here. */
async function findDevice(mountPoint: string): Promise<string | undefined> {
  try {
    const target = await readlink(mountPoint);
    return LOOP_DEVICE.test(target) ? target : undefined;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT" || code === "EINVAL") return undefined;
    throw error;
  }
}
