export type { BundleName, BundleRoots } from "./bundle.ts";
export { Bundle } from "./bundle.ts";
export { findShimBinary, shimBinaryName, type ShimSearch, shimSearch } from "./runtime-name.ts";
export { formatEndpoint, parseBootstrapAnswer, parseEndpoint } from "./shim-endpoint.ts";
export type { ShimGrouping, ShimManagerOptions } from "./shim-manager-options.ts";
export { LocalShimManager } from "./shim-manager.ts";
export type { TaskRuntimeOptions } from "./task-runtime.ts";
export { openTaskRuntime, ShimTaskRuntime } from "./task-runtime.ts";
