import { createHash } from "node:crypto";
import { join } from "node:path";

import { invalidArgument } from "@berth/errors";

/** Where sockets of shims are unless the daemon says otherwise. */
export const DEFAULT_SHIM_SOCKET_DIR = "/run/berth/s";

const SOCKET_NAME_BYTES = 64;
const MAX_SOCKET_PATH_BYTES = 106;

/** The longest directory that {@link shimSocketPath} takes. */
export const MAX_SHIM_SOCKET_DIR_BYTES = MAX_SOCKET_PATH_BYTES - SOCKET_NAME_BYTES - 1;

/** Whose shims a socket belongs to. */
export interface ShimGroup {
  /** The daemon's address: two daemons on one machine share no shim. */
  readonly grpcAddress: string;
  readonly namespace: string;
  /** The containers that share a shim: a container's id, a sandbox's, or {@link poolGroup}. */
  readonly group: string;
}

/**
 * This returns where the shim of a group listens.
 * @throws invalid_argument - the kernel takes no path of that length
 */
export function shimSocketPath(directory: string, { grpcAddress, namespace, group }: ShimGroup): string {
  const name = createHash("sha256").update([grpcAddress, namespace, group].join("/")).digest("hex");
  const path = join(directory, name);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES)
    throw invalidArgument(`socket path ${path}: longer than ${MAX_SOCKET_PATH_BYTES} bytes`);
  return path;
}

/** This returns the group of the n-th pool; containers whose shims have a cgroup of their own do not mix with others. */
export function poolGroup(index: number, shimCgroup = ""): string {
  return shimCgroup === "" ? `pool-${index}` : `pool-${index}@${shimCgroup}`;
}

const SANDBOX_ANNOTATIONS = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/** This finds the sandbox that the annotations of a specification (parsed JSON) name. */
export function findSandboxAnnotation(spec: unknown): string | undefined {
  const annotations = field(spec, "annotations");
  return SANDBOX_ANNOTATIONS.map((name) => field(annotations, name)).find(
    (id): id is string => typeof id === "string" && id !== "",
  );
}

function field(value: unknown, name: string): unknown {
  // any object may be asked for any name
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** Directory in a bundle of what a shim records of ends, see `exits` in the README of shim-runtime. */
export const EXIT_RECORDS = "exits";

/** This names the record of a process's end in {@link EXIT_RECORDS}; `execId` is empty for init. @throws invalid_argument - no file name */
export function exitRecordName(execId: string): string {
  return `${baseName(execId)}.json`;
}

/** This names the daemon's note, beside the record, that the end was published. @throws invalid_argument - no file name */
export function exitMarkName(execId: string): string {
  return `${baseName(execId)}.sent`;
}

function baseName(execId: string): string {
  if (/[/\0]/.test(execId)) throw invalidArgument(`exec id ${JSON.stringify(execId)}: not a file name`);
  return execId === "" ? "init" : `exec.${execId}`;
}
