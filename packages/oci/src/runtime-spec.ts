export { type ApparmorParts, apparmorProfile, loadApparmorProfile } from "./apparmor.ts";
export { type BlockIoClass, readBlockIoClass, withBlockIo } from "./block-io.ts";
export { SpecTypeUrl, decodeProcess, decodeSpec, encodeLinuxResources, encodeProcess, encodeSpec } from "./spec-any.ts";
export { type CdiOptions, parseCdiName, withCdiDevices, withGpus } from "./cdi/inject.ts";
export {
  ALL_CAPABILITIES,
  parseCapabilityMask,
  withAddedCapabilities,
  withCapabilities,
  withDroppedCapabilities,
} from "./spec-capabilities.ts";
export type { GenerateSpecOptions } from "./spec-default.ts";
export { DEFAULT_CAPABILITIES, generateSpec, withDefaultUnixDevices } from "./spec-default.ts";
export { readCurrentCapabilities, readDevices, readHostDevices } from "./spec-host.ts";
export type { PrivilegedOptions } from "./spec-linux.ts";
export {
  withAllDevicesAllowed,
  withApparmorProfile,
  withAnnotations,
  withCgroup,
  withDevices,
  withHostname,
  withHostNamespace,
  withHostNetwork,
  withNamespacePath,
  withPrivileged,
  withRdt,
  withReadonlyRootfs,
  withRootfsPath,
  withRootfsPropagation,
  withSeccomp,
  withUserNamespace,
} from "./spec-linux.ts";
export type {
  RuntimeSpec,
  SpecBlockIo,
  SpecCapabilities,
  SpecDevice,
  SpecDeviceRule,
  SpecHook,
  SpecIdMapping,
  SpecIntelRdt,
  SpecLinux,
  SpecMount,
  SpecNamespaceType,
  SpecOption,
  SpecProcess,
  SpecResources,
  SpecRlimit,
  SpecUser,
} from "./spec-model.ts";
export { applySpecOptions } from "./spec-model.ts";
export { formatMountFlag, parseMountFlag, withMounts } from "./spec-mounts.ts";
export {
  execProcess,
  withCwd,
  withEnv,
  withImageConfig,
  withNoNewPrivileges,
  withProcessArgs,
  withRlimit,
  withTty,
  withTtySize,
} from "./spec-process.ts";
export {
  withCpuQuota,
  withCpus,
  withCpusetCpus,
  withCpusetMems,
  withCpuShares,
  withMemoryLimit,
  withPidsLimit,
} from "./spec-resources.ts";
export { withDefaultSeccomp } from "./spec-seccomp.ts";
export type { GroupEntry, PasswdEntry, UserFiles } from "./spec-user.ts";
export { parseGroup, parsePasswd, resolveUser, withAdditionalGids, withUidGid, withUser } from "./spec-user.ts";
