import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, integerFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";

/** Flags of everything that makes a container. */
export const CONTAINER_FLAGS = {
  runtime: stringFlag(
    "name of the runtime, or path of its shim (default: the namespace's, else io.containerd.runc.v2)",
  ),
  "runc-binary": stringFlag("runc-compatible program that the shim runs"),
  "runc-root": stringFlag("directory of runc's state"),
  "runc-systemd-cgroup": booleanFlag("let systemd manage the cgroup"),
  snapshotter: snapshotterFlag,
  "snapshotter-label": listFlag("label of the container's snapshot, key=value"),
  config: stringFlag("take the whole spec from this file", { aliases: ["c"] }),
  cwd: stringFlag("working directory of the process"),
  env: listFlag("environment variable, NAME=value"),
  "env-file": stringFlag("file with a NAME=value on each line"),
  label: listFlag("label of the container, key=value"),
  annotation: listFlag("annotation of the spec, key=value"),
  mount: listFlag("mount, e.g. type=bind,src=/tmp,dst=/host,options=rbind:ro"),
  "net-host": booleanFlag("use the host's network"),
  privileged: booleanFlag("give the container all rights on the host"),
  "read-only": booleanFlag("make the root file system read-only"),
  tty: booleanFlag("give the process a terminal", { aliases: ["t"] }),
  "with-ns": listFlag("join an existing namespace, e.g. network:/proc/123/ns/net"),
  "pid-file": stringFlag("write the pid of the process to this file"),
  "allow-new-privs": booleanFlag("let setuid programs gain privileges"),
  "memory-limit": integerFlag("memory in bytes"),
  "cap-add": listFlag("add a capability, e.g. CAP_NET_ADMIN"),
  "cap-drop": listFlag("drop a capability"),
  "seccomp-profile": stringFlag("file with a seccomp profile in the form of the runtime specification"),
  hostname: stringFlag("host name in the container"),
  user: stringFlag("user of the process, name or number, with :group if wanted", { aliases: ["u"] }),
  rootfs: booleanFlag("the image is the path of a root file system on the host"),
  "no-pivot": booleanFlag("do not use pivot_root"),
  "cpu-quota": integerFlag("microseconds of processor time in each period; -1 for no limit", { initial: -1 }),
  "cpu-period": integerFlag("microseconds of a period of --cpu-quota"),
  "rootfs-propagation": stringFlag("how mounts travel: private, shared, slave, rprivate, rshared or rslave"),
  device: listFlag("device of the host, a directory of devices, or a CDI device, vendor.com/class=name"),
  "runtime-config-path": stringFlag("configuration of a runtime other than runc's"),
  sandbox: stringFlag("id of the sandbox whose shim runs the container; see ctr sandboxes run"),
  gpus: listFlag("GPU by its number, or all; of the first vendor with a CDI specification"),
  seccomp: booleanFlag("set the default seccomp profile"),
  "apparmor-default-profile": stringFlag("AppArmor profile that is made for containers and loaded under this name"),
  "apparmor-profile": stringFlag("loaded AppArmor profile that confines the process"),
  "blockio-config-file": stringFlag("file with classes of block I/O, in YAML"),
  "blockio-class": stringFlag("class of block I/O in that file"),
  "rdt-class": stringFlag("class of Intel's resource director"),
} as const;

/** Values of {@link CONTAINER_FLAGS}. */
export type ContainerFlags = FlagValues<typeof CONTAINER_FLAGS>;
