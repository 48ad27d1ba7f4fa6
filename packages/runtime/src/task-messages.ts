import { Status } from "@berth/api/containerd/v1/types/task";
import type { StateResponse } from "@berth/api/containerd/task/v3/task";
import type { AnyValue } from "@berth/core/any";
import type { ExitStatus, ProcessInfo, ProcessState, ProcessStatus } from "@berth/core/runtime";
import { fromProtoTimestampNs } from "@berth/core/timestamp";
import type { Any, Timestamp } from "@bufbuild/protobuf/wkt";

const STATUS_NAMES: ReadonlyMap<Status, ProcessStatus> = new Map([
  [Status.CREATED, "created"],
  [Status.RUNNING, "running"],
  [Status.STOPPED, "stopped"],
  [Status.PAUSED, "paused"],
  [Status.PAUSING, "pausing"],
] as const);

const STATUS_CODES: ReadonlyMap<ProcessStatus, Status> = new Map([...STATUS_NAMES].map(([code, name]) => [name, code]));

/** This names a status of the wire; unknown for a number that is none. */
function fromProtoStatus(status: Status): ProcessStatus {
  return STATUS_NAMES.get(status) ?? "unknown";
}

/** The inverse of {@link fromProtoStatus}. */
export function toProtoStatus(status: ProcessStatus): Status {
  return STATUS_CODES.get(status) ?? Status.UNKNOWN;
}

/** This reads a shim's answer about a process. */
export function fromProtoState(state: StateResponse): ProcessState {
  const { id, execId, bundle, pid, stdin, stdout, stderr, terminal, exitStatus } = state;
  const exitedAtNs = fromProtoTimestampNs(state.exitedAt);
  const status = fromProtoStatus(state.status);
  return { id, execId, bundle, pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAtNs };
}

/** This reads an exit from any message that has one. */
export function fromProtoExit(message: {
  pid?: number;
  exitStatus: number;
  exitedAt?: Timestamp | undefined;
}): ExitStatus {
  const { pid = 0, exitStatus, exitedAt } = message;
  return { pid, exitStatus, exitedAtNs: fromProtoTimestampNs(exitedAt) };
}

/** This reads a process of the host. */
export function fromProtoProcessInfo({ pid, info }: { pid: number; info?: Any | undefined }): ProcessInfo {
  return info === undefined ? { pid } : { pid, info };
}

/** This leaves a field out where there is no value. */
export function optionalAny<K extends string>(key: K, value: AnyValue | undefined): Partial<Record<K, AnyValue>> {
  // One key of exactly that name; TypeScript widens computed keys to string.
  return (value === undefined ? {} : { [key]: value }) as Partial<Record<K, AnyValue>>;
}
