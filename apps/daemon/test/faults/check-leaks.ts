import { execFile } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";

import { readMountInfo } from "@berth/linux/mount";

import type { FaultRig } from "./fault-rig.ts";

/** This deletes whatever is stored, collects, and returns what is left over: files, mounts, loop devices, processes. */
export async function checkLeaks(rig: FaultRig): Promise<string[]> {
  await deleteEverything(rig);
  return [
    ...(await leftInStores(rig)),
    ...(await leftOnDisk(rig)),
    ...leftMounts(rig),
    ...(await leftLoopDevices(rig)),
    ...(await leftProcesses(rig)),
  ];
}

/** This deletes images, snapshots and leases, and waits for a collection. */
export async function deleteEverything(rig: FaultRig): Promise<void> {
  const { client } = rig;
  rig.newLedger();
  for (const { name } of await Array.fromAsync(client.images.list())) await client.images.delete(name);
  const snapshotter = client.snapshotter(rig.snapshotter);
  for (const { name, labels } of await Array.fromAsync(snapshotter.list())) {
    if (labels.has("containerd.io/gc.root")) await snapshotter.remove(name);
  }
  for (const { id } of await Array.fromAsync(client.leases.list())) await client.leases.delete(id);
  await client.leases.create({ id: "collect", labels: new Map() });
  await client.leases.delete("collect", { sync: true });
}

async function leftInStores({ client, snapshotter }: FaultRig): Promise<string[]> {
  const blobs = await Array.fromAsync(client.content.list(), ({ digest }) => `blob ${digest}`);
  const ingests = await Array.fromAsync(client.content.listStatuses(), ({ ref }) => `ingest ${ref}`);
  const snapshots = await Array.fromAsync(client.snapshotter(snapshotter).list(), ({ name }) => `snapshot ${name}`);
  return [...blobs, ...ingests, ...snapshots];
}

async function leftOnDisk(rig: FaultRig): Promise<string[]> {
  const files = [...(await rig.listFiles())].filter((path) => !rig.emptyRoot.has(path));
  const found = new Set(files);
  // What is in a directory that is left over goes without saying.
  return files.filter((path) => !found.has(dirname(path))).map((path) => `file ${path}`);
}

function leftMounts({ daemon, directory }: FaultRig): string[] {
  const places = [`${daemon.root}/`, `${directory}/`];
  return readMountInfo()
    .filter(({ mountPoint }) => places.some((place) => mountPoint.startsWith(place)))
    .map(({ mountPoint }) => `mount ${mountPoint}`);
}

async function leftLoopDevices({ daemon }: FaultRig): Promise<string[]> {
  const { stdout } = await promisify(execFile)("losetup", ["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
  return stdout.split("\n").filter((line) => line.includes(`${daemon.root}/`));
}

/** Processes that were started for this daemon, and descriptors of the daemon to files that are no more. */
async function leftProcesses({ daemon, directory }: FaultRig): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (Number(pid) !== daemon.pid && command.includes(directory)) found.push(`process ${pid} ${command}`);
  }
  for (const fd of await readdir(`/proc/${daemon.pid}/fd`)) {
    const target = await readlink(`/proc/${daemon.pid}/fd/${fd}`).catch(() => "");
    if (target.startsWith(`${daemon.root}/`) && target.endsWith("(deleted)")) found.push(`descriptor of ${target}`);
  }
  return found;
}
