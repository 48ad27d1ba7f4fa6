import type {
  SpecDevice,
  SpecIdMapping,
  SpecIntelRdt,
  SpecLinux,
  SpecNamespaceType,
  SpecOption,
} from "./spec-model.ts";
import { applySpecOptions, changeLinux, changeProcess, changeResources } from "./spec-model.ts";
import { withCapabilities } from "./spec-capabilities.ts";
import { withMounts, withWritableMounts } from "./spec-mounts.ts";
import { withEnv } from "./spec-process.ts";

/** This makes the root file system read-only. */
export const withReadonlyRootfs: SpecOption = (spec) => ({
  ...spec,
  root: { ...(spec.root ?? { path: "rootfs" }), readonly: true },
});

/** This uses a directory of the host as the root file system. */
export function withRootfsPath(path: string): SpecOption {
  return (spec) => ({ ...spec, root: { ...spec.root, path } });
}

/** This sets the host name inside. */
export function withHostname(hostname: string): SpecOption {
  return (spec) => ({ ...spec, hostname });
}

/** This adds annotations; a later one of the same name wins. */
export function withAnnotations(annotations: ReadonlyMap<string, string>): SpecOption {
  return (spec) => ({ ...spec, annotations: { ...spec.annotations, ...Object.fromEntries(annotations) } });
}

/** This leaves the container in the host's namespace of that type. */
export function withHostNamespace(type: SpecNamespaceType): SpecOption {
  return (spec) =>
    changeLinux(spec, (linux) => ({
      ...linux,
      namespaces: (linux.namespaces ?? []).filter((namespace) => namespace.type !== type),
    }));
}

/** This puts the container into the namespace at `path`, or into a new one if there is none. */
export function withNamespacePath(type: SpecNamespaceType, path?: string): SpecOption {
  const joined = path === undefined ? { type } : { type, path };
  return (spec) =>
    changeLinux(spec, (linux) => {
      const namespaces = linux.namespaces ?? [];
      return {
        ...linux,
        namespaces: namespaces.some((namespace) => namespace.type === type)
          ? namespaces.map((namespace) => (namespace.type === type ? joined : namespace))
          : [...namespaces, joined],
      };
    });
}

/** This uses the host's network, with its `/etc/hosts` and `/etc/resolv.conf`, and tells the host's name in `HOSTNAME`. */
export function withHostNetwork(hostname?: string): SpecOption {
  const hostFile = (path: string) => ({ destination: path, type: "bind", source: path, options: ["rbind", "ro"] });
  return (spec) =>
    applySpecOptions(
      spec,
      withHostNamespace("network"),
      withMounts([hostFile("/etc/hosts"), hostFile("/etc/resolv.conf")]),
      withEnv(hostname === undefined ? [] : [`HOSTNAME=${hostname}`]),
    );
}

/** This maps ids; called again it adds mappings. */
export function withUserNamespace(uids: readonly SpecIdMapping[], gids: readonly SpecIdMapping[]): SpecOption {
  return (spec) =>
    changeLinux(withNamespacePath("user")(spec), (linux) => ({
      ...linux,
      uidMappings: [...(linux.uidMappings ?? []), ...uids],
      gidMappings: [...(linux.gidMappings ?? []), ...gids],
    }));
}

/** This sets the cgroup; empty for that of the shim. */
export function withCgroup(cgroupsPath: string): SpecOption {
  return (spec) => changeLinux(spec, (linux) => ({ ...linux, cgroupsPath }));
}

/** This sets how mounts travel between the container and the host: `private`, `rslave`, `shared`, … */
export function withRootfsPropagation(rootfsPropagation: string): SpecOption {
  return (spec) => changeLinux(spec, (linux) => ({ ...linux, rootfsPropagation }));
}

/** This sets a seccomp profile, in the form of the runtime specification. */
export function withSeccomp(seccomp: Readonly<Record<string, unknown>>): SpecOption {
  return (spec) => changeLinux(spec, (linux) => ({ ...linux, seccomp }));
}

/** This puts the container into a class of Intel's resource director, which must exist. */
export function withRdt(intelRdt: SpecIntelRdt): SpecOption {
  return (spec) => changeLinux(spec, (linux) => ({ ...linux, intelRdt }));
}

/** This confines the process by an AppArmor profile, which must be loaded. */
export function withApparmorProfile(apparmorProfile: string): SpecOption {
  return (spec) => changeProcess(spec, (process) => ({ ...process, apparmorProfile }));
}

/** This makes devices and lets the container use them. */
export function withDevices(devices: readonly SpecDevice[], access = "rwm"): SpecOption {
  const rules = devices.map(({ type, major, minor }) => ({ allow: true, type, major, minor, access }));
  return (spec) =>
    changeResources(
      changeLinux(spec, (linux) => ({ ...linux, devices: [...(linux.devices ?? []), ...devices] })),
      (resources) => ({ ...resources, devices: [...(resources.devices ?? []), ...rules] }),
    );
}

/** This lets the container use every device. */
export const withAllDevicesAllowed: SpecOption = (spec) =>
  changeResources(spec, (resources) => ({ ...resources, devices: [{ allow: true, access: "rwm" }] }));

/** What {@link withPrivileged} grants. */
export interface PrivilegedOptions {
  /** Those of the caller, see `readCurrentCapabilities`: no more can be given. */
  readonly capabilities: readonly string[];
  /** Devices of the host, see `readHostDevices`; absent: none, and no device is allowed that was not. */
  readonly devices?: readonly SpecDevice[];
}

/** This takes away what keeps a container from ruling the host. */
export function withPrivileged({ capabilities, devices }: PrivilegedOptions): SpecOption {
  return (spec) => {
    const open = applySpecOptions(
      spec,
      withCapabilities(capabilities),
      withWritableMounts("sysfs"),
      withWritableMounts("cgroup"),
      withoutConfinement,
    );
    if (devices === undefined) return open;
    return changeLinux(withAllDevicesAllowed(open), (linux) => ({
      ...linux,
      devices: [...(linux.devices ?? []), ...devices],
    }));
  };
}

const withoutConfinement: SpecOption = (spec) =>
  changeProcess(
    changeLinux(
      spec,
      ({ maskedPaths: _masked, readonlyPaths: _readonly, seccomp: _seccomp, ...linux }): SpecLinux => linux,
    ),
    ({ apparmorProfile: _apparmor, selinuxLabel: _selinux, ...process }) => process,
  );
