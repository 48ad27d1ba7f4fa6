export type { SnapshotterOptions } from "./driven-snapshotter.ts";
export { openSnapshotter } from "./driven-snapshotter.ts";
export type {
  DriverTools,
  MeasureOptions,
  SealedSnapshot,
  SnapshotDriver,
  SnapshotFiller,
  SnapshotRequest,
} from "./snapshot-driver.ts";
export type { PlaceOperations, SnapshotPlacesOptions } from "./snapshot-places.ts";
export { directoryPlaces, SnapshotPlaces } from "./snapshot-places.ts";
export type { SnapshotRecord } from "./store/snapshot-record.ts";
export type { NewSnapshot, SnapshotCommit } from "./store/snapshot-store.ts";
export { SnapshotStore } from "./store/snapshot-store.ts";
export type { TreeWorkersOptions } from "./tree-workers.ts";
export { TreeWorkers } from "./tree-workers.ts";
