import type { Stats } from "node:fs";
import { lstat, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { invalidArgument, isNotFound, wrapError } from "@berth/errors";

import { parseCapabilityMask } from "./spec-capabilities.ts";
import type { SpecDevice } from "./spec-model.ts";

/** Directories of `/dev` that a container has of its own, or that hold nothing for it. */
const SKIPPED = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"]);

/** This returns the effective capabilities of this process. */
export async function readCurrentCapabilities(): Promise<string[]> {
  const status = await readFile("/proc/self/status", "latin1");
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  if (mask === undefined) throw invalidArgument("/proc/self/status has no CapEff");
  return parseCapabilityMask(mask);
}

/** This returns the devices below `/dev`. */
export function readHostDevices(): Promise<SpecDevice[]> {
  return readDevices("/dev");
}

/**
 * This returns the device at `path`, or those below it; `containerPath` is where they shall be inside.
 *
 * @throws not_found
 * @throws invalid_argument - `path` is neither a device nor a directory
 */
export async function readDevices(path: string, containerPath = path): Promise<SpecDevice[]> {
  const stats = await lstat(path).catch((error: unknown) => {
    throw wrapError(error, `read device ${path}`);
  });
  if (stats.isDirectory()) return readDirectory(path, containerPath);
  const device = deviceOf(stats, containerPath);
  if (device === undefined) throw invalidArgument(`${path} is not a device`);
  return [device];
}

async function readDirectory(path: string, containerPath: string): Promise<SpecDevice[]> {
  const devices: SpecDevice[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inside = join(containerPath, entry.name);
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) devices.push(...(await readDirectory(join(path, entry.name), inside)));
    } else if (entry.name !== "console" && (entry.isCharacterDevice() || entry.isBlockDevice())) {
      const device = await findDevice(join(path, entry.name), inside);
      if (device !== undefined) devices.push(device);
    }
  }
  return devices;
}

/** This returns the device at `path`, nothing where there is none. A device that goes away while a directory is read is no error. */
export async function findDevice(path: string, containerPath: string): Promise<SpecDevice | undefined> {
  try {
    return deviceOf(await lstat(path), containerPath);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw wrapError(error, `read device ${path}`);
  }
}

function deviceOf(stats: Stats, path: string): SpecDevice | undefined {
  if (!stats.isCharacterDevice() && !stats.isBlockDevice()) return undefined;
  const { rdev, mode, uid, gid } = stats;
  // glibc's layout of dev_t: the low byte of the minor number is separated from its rest by the major number.
  const high = Math.floor(rdev / 2 ** 32);
  return {
    path,
    type: stats.isBlockDevice() ? "b" : "c",
    major: ((rdev >>> 8) & 0xfff) + (high & ~0xfff),
    minor: (rdev & 0xff) + ((rdev >>> 12) & 0xfff00),
    fileMode: mode & 0o7777,
    uid,
    gid,
  };
}
