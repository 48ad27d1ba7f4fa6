export { BUSYBOX_IMAGE, busyboxImage } from "./busybox-image.ts";
export type { CertificateFiles } from "./certificate.ts";
export { makeCertificate } from "./certificate.ts";
export type { FaultRegistry } from "./fault-registry.ts";
export { startFaultRegistry } from "./fault-registry.ts";
export type { FaultImage, FaultImageRecipe, TreeFacts } from "./faults/fault-image.ts";
export { faultImage } from "./faults/fault-image.ts";
export { differences, readTree } from "./faults/read-tree.ts";
export type { SeededRandom } from "./faults/seeded-random.ts";
export { seededRandom } from "./faults/seeded-random.ts";
export type { CallTracer, TraceOptions } from "./faults/trace-calls.ts";
export { countCalls, traceCalls } from "./faults/trace-calls.ts";
export type { BuiltImage, ImageRecipe } from "./image-builder.ts";
export { buildImage, digestBytes, sha256 } from "./image-builder.ts";
export type { ImageFiles } from "./image-file.ts";
export { makeErofsImage, makeExt4Image } from "./image-file.ts";
export { MemoryContentStore } from "./memory-content-store.ts";
export type { ContainerdRelease, DaemonOptions, PeerDaemon } from "./peers/daemon.ts";
export { criuPrograms } from "./peers/criu-programs.ts";
export { startBerthd, startContainerd } from "./peers/daemon.ts";
export type { DebianTool } from "./peers/debian-tools.ts";
export {
  crunProgram,
  debianFile,
  debianLibraries,
  debianPath,
  debianTool,
  gunzipProgram,
  launcher,
  newerTool,
  type NewerTool,
} from "./peers/debian-tools.ts";
export type { TreeEntry } from "./peers/list-tree.ts";
export { listTree } from "./peers/list-tree.ts";
export type { PrivateNetwork } from "./peers/private-network.ts";
export { privateNetwork } from "./peers/private-network.ts";
export type { RegistryFault, RegistryRequestRecord } from "./registry-fault.ts";
export type { RegistryRelay, RelayedRequest } from "./peers/registry-relay.ts";
export { startRegistryRelay } from "./peers/registry-relay.ts";
export type { PeerRegistry, RegistryOptions } from "./peers/registry.ts";
export { REGISTRY_USER, startRegistry } from "./peers/registry.ts";
export type { TokenAsk, TokenServer } from "./peers/token-server.ts";
export { startTokenServer } from "./peers/token-server.ts";
export type { ProgramOptions, ProgramResult } from "./run-program.ts";
export { runProgram } from "./run-program.ts";
export type { TemporaryDirectory } from "./temporary-directory.ts";
export { memoryDirectory, temporaryDirectory } from "./temporary-directory.ts";
