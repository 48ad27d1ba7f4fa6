export type { BackendOptions } from "./call-options.ts";
export type { ClientOptions, HoldLeaseOptions } from "./client.ts";
export { Client, createClient, HeldLease } from "./client.ts";
// What a caller branches on, so that the errors of a call can be told apart without another package.
export {
  Code,
  codeOf,
  isAlreadyExists,
  isCanceled,
  isDeadlineExceeded,
  isFailedPrecondition,
  isInvalidArgument,
  isNotFound,
  isPermissionDenied,
  isUnavailable,
  isUnimplemented,
} from "@berth/errors";
export type { Scope } from "./scoped-transport.ts";
export { scopedTransport } from "./scoped-transport.ts";
export { createContainersClient } from "./containers-client.ts";
export { createContentClient } from "./content-client.ts";
export { createDiffClient } from "./diff-client.ts";
export { createEventsClient } from "./events-client.ts";
export { isServing } from "./health-client.ts";
export { createImagesClient } from "./images-client.ts";
export type { IntrospectionClient, ServerInfo } from "./introspection-client.ts";
export { createIntrospectionClient } from "./introspection-client.ts";
export { createLeasesClient } from "./leases-client.ts";
export { createMountsClient } from "./mounts-client.ts";
export type { NamespacesClient } from "./namespaces-client.ts";
export { createNamespacesClient } from "./namespaces-client.ts";
export { createSandboxControllerClient } from "./sandbox-controller-client.ts";
export { createSandboxesClient } from "./sandboxes-client.ts";
export { createSnapshotsClient } from "./snapshots-client.ts";
export type { CreateTaskOptions, DeletedProcess, RemoteTask, TaskMetrics, TasksClient } from "./tasks-client.ts";
export { createTasksClient } from "./tasks-client.ts";
export type { VersionInfo } from "./version-client.ts";
export { getVersion } from "./version-client.ts";
