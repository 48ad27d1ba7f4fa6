import { open } from "node:fs/promises";

import { syncfs } from "@berth/linux/files";
import { findLoopDevices, readMountInfo } from "@berth/linux/mount";

/** This writes what a file system holds back to the file that it lies in, where that is mounted. */
export async function flushImage(image: string): Promise<void> {
  const devices = new Set(findLoopDevices(image));
  if (devices.size === 0) return;
  for (const { source, mountPoint } of readMountInfo()) {
    if (!devices.has(source)) continue;
    await using mounted = await open(mountPoint);
    await syncfs(mounted.fd);
  }
}
