/**
 * The OCI runtime specification as far as berth reads or writes it. A spec that came as JSON keeps the fields that are
 * not named here.
 *
 * @see OCI runtime-spec 1.3, config.md
 */
export interface RuntimeSpec {
  readonly ociVersion: string;
  readonly process?: SpecProcess;
  readonly root?: { readonly path: string; readonly readonly?: boolean };
  readonly hostname?: string;
  readonly domainname?: string;
  readonly mounts?: readonly SpecMount[];
  readonly hooks?: Readonly<Record<string, readonly SpecHook[]>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: SpecLinux;
}

/** A change of a spec: returns another one and leaves its argument alone. */
export type SpecOption = (spec: RuntimeSpec) => RuntimeSpec;

export interface SpecProcess {
  readonly terminal?: boolean;
  readonly consoleSize?: { readonly width: number; readonly height: number };
  readonly user: SpecUser;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly cwd: string;
  readonly capabilities?: SpecCapabilities;
  readonly rlimits?: readonly SpecRlimit[];
  readonly noNewPrivileges?: boolean;
  readonly apparmorProfile?: string;
  readonly oomScoreAdj?: number;
  readonly selinuxLabel?: string;
}

export interface SpecUser {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
}

export interface SpecCapabilities {
  readonly bounding?: readonly string[];
  readonly effective?: readonly string[];
  readonly inheritable?: readonly string[];
  readonly permitted?: readonly string[];
  readonly ambient?: readonly string[];
}

export interface SpecRlimit {
  readonly type: string;
  readonly hard: number;
  readonly soft: number;
}

export interface SpecMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
}

export interface SpecHook {
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly timeout?: number;
}

export type SpecNamespaceType = "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup" | "time";

export interface SpecLinux {
  readonly uidMappings?: readonly SpecIdMapping[];
  readonly gidMappings?: readonly SpecIdMapping[];
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly resources?: SpecResources;
  readonly cgroupsPath?: string;
  readonly namespaces?: readonly { readonly type: SpecNamespaceType; readonly path?: string }[];
  readonly devices?: readonly SpecDevice[];
  /** Network interfaces of the host that move into the container, by their names there; `name`: what they are called then. */
  readonly netDevices?: Readonly<Record<string, { readonly name?: string }>>;
  /** A seccomp profile, passed on as it is. */
  readonly seccomp?: unknown;
  readonly rootfsPropagation?: string;
  readonly intelRdt?: SpecIntelRdt;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly mountLabel?: string;
}

/** Class of cache and memory bandwidth, as Intel's resource director has it. */
export interface SpecIntelRdt {
  readonly closID?: string;
  readonly l3CacheSchema?: string;
  readonly memBwSchema?: string;
  readonly schemata?: readonly string[];
  readonly enableMonitoring?: boolean;
}

export interface SpecIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface SpecDevice {
  readonly path: string;
  readonly type: string;
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface SpecDeviceRule {
  readonly allow: boolean;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly access?: string;
}

export interface SpecResources {
  readonly devices?: readonly SpecDeviceRule[];
  readonly memory?: { readonly limit?: number; readonly swap?: number; readonly reservation?: number };
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly burst?: number;
    readonly period?: number;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit: number };
  readonly blockIO?: SpecBlockIo;
  readonly unified?: Readonly<Record<string, string>>;
}

/** Weights and limits of block I/O, of all devices and of single ones. */
export interface SpecBlockIo {
  readonly weight?: number;
  readonly weightDevice?: readonly SpecDeviceAmount<"weight">[];
  readonly throttleReadBpsDevice?: readonly SpecDeviceAmount<"rate">[];
  readonly throttleWriteBpsDevice?: readonly SpecDeviceAmount<"rate">[];
  readonly throttleReadIOPSDevice?: readonly SpecDeviceAmount<"rate">[];
  readonly throttleWriteIOPSDevice?: readonly SpecDeviceAmount<"rate">[];
}

/** An amount of one device. */
export type SpecDeviceAmount<Field extends string> = { readonly major: number; readonly minor: number } & {
  readonly [field in Field]: number;
};

/** What a change needs of a spec that lacks it. */
export const EMPTY_PROCESS: SpecProcess = { user: { uid: 0, gid: 0 }, cwd: "/" };

/** This changes the process of a spec. */
export function changeProcess(spec: RuntimeSpec, change: (process: SpecProcess) => SpecProcess): RuntimeSpec {
  return { ...spec, process: change(spec.process ?? EMPTY_PROCESS) };
}

/** This changes the Linux part of a spec. */
export function changeLinux(spec: RuntimeSpec, change: (linux: SpecLinux) => SpecLinux): RuntimeSpec {
  return { ...spec, linux: change(spec.linux ?? {}) };
}

/** This changes the limits of a spec. */
export function changeResources(spec: RuntimeSpec, change: (resources: SpecResources) => SpecResources): RuntimeSpec {
  return changeLinux(spec, (linux) => ({ ...linux, resources: change(linux.resources ?? {}) }));
}

/** This applies options from left to right. */
export function applySpecOptions(spec: RuntimeSpec, ...options: readonly SpecOption[]): RuntimeSpec {
  return options.reduce((changed, option) => option(changed), spec);
}
