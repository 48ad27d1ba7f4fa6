export type { DirectoryDriver, DirectoryRequest, DirectorySnapshotterOptions } from "./directory-snapshotter.ts";
export { openDirectorySnapshotter } from "./directory-snapshotter.ts";
export { SnapshotDirectories } from "./snapshot-directories.ts";
export type { SnapshotRecord } from "./store/snapshot-record.ts";
export type { NewSnapshot, SnapshotCommit } from "./store/snapshot-store.ts";
export { SnapshotStore } from "./store/snapshot-store.ts";
export type { TreeWorkersOptions } from "./tree-workers.ts";
export { TreeWorkers } from "./tree-workers.ts";
