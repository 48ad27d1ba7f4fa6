import { posix } from "node:path";

import type { RuntimeSpec, SpecDeviceRule, SpecMount, SpecOption } from "./spec-model.ts";
import { applySpecOptions, changeResources } from "./spec-model.ts";

/** Whom a spec is generated for. */
export interface GenerateSpecOptions {
  readonly namespace: string;
  readonly id: string;
  /** Applied from left to right. */
  readonly options?: readonly SpecOption[];
}

const RUNTIME_SPEC_VERSION = "1.3.0";

/** The capabilities that a container gets when nothing else is asked for. */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FSETID",
  "CAP_FOWNER",
  "CAP_MKNOD",
  "CAP_NET_RAW",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETFCAP",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_SYS_CHROOT",
  "CAP_KILL",
  "CAP_AUDIT_WRITE",
];

const MASKED_PATHS: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/sys/firmware",
  "/sys/devices/virtual/powercap",
  "/proc/scsi",
];

const READONLY_PATHS: readonly string[] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const TMPFS_OPTIONS: readonly string[] = ["nosuid", "strictatime", "mode=755", "size=65536k"];

const MOUNTS: readonly SpecMount[] = [
  { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/dev", type: "tmpfs", source: "tmpfs", options: TMPFS_OPTIONS },
  {
    destination: "/dev/pts",
    type: "devpts",
    source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
  },
  {
    destination: "/dev/shm",
    type: "tmpfs",
    source: "shm",
    options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
  },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
  { destination: "/run", type: "tmpfs", source: "tmpfs", options: TMPFS_OPTIONS },
];

/**
 * This makes containerd's default Linux spec for a container and applies the options. It has no arguments and no
 * environment: these come with an image's configuration, or with `withProcessArgs` and `withEnv`.
 *
 * @see containerd pkg/oci/spec.go, GenerateSpec
 */
export function generateSpec({ namespace, id, options = [] }: GenerateSpecOptions): RuntimeSpec {
  const spec: RuntimeSpec = {
    ociVersion: RUNTIME_SPEC_VERSION,
    process: {
      user: { uid: 0, gid: 0 },
      cwd: "/",
      capabilities: {
        bounding: DEFAULT_CAPABILITIES,
        effective: DEFAULT_CAPABILITIES,
        permitted: DEFAULT_CAPABILITIES,
      },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: "rootfs" },
    mounts: MOUNTS,
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      cgroupsPath: posix.join("/", namespace, id),
      namespaces: [{ type: "pid" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }, { type: "network" }],
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
    },
  };
  return applySpecOptions(spec, ...options);
}

/** `/dev/null random full tty zero urandom console`, all of `/dev/pts`, `/dev/ptmx`, as major and minor numbers. */
const UNIX_DEVICES: readonly (readonly [major: number, minor?: number])[] = [
  [1, 3],
  [1, 8],
  [1, 7],
  [5, 0],
  [1, 5],
  [1, 9],
  [5, 1],
  [136],
  [5, 2],
];

/** This allows the devices that every program may expect; without it cgroup v1 denies even `/dev/null`. */
export const withDefaultUnixDevices: SpecOption = (spec) =>
  changeResources(spec, (resources) => ({ ...resources, devices: [...(resources.devices ?? []), ...deviceRules()] }));

function deviceRules(): SpecDeviceRule[] {
  return UNIX_DEVICES.map(([major, minor]) => {
    const rule = { allow: true, type: "c", major, access: "rwm" };
    return minor === undefined ? rule : Object.assign(rule, { minor });
  });
}
