import type { ConformanceCase } from "./run-conformance.ts";
import { snapshotKeyCases } from "./snapshots-key-cases.ts";
import { snapshotLayerCases } from "./snapshots-layer-cases.ts";
import type { SnapshotSubject } from "./snapshots-subject.ts";

export type { SnapshotSubject } from "./snapshots-subject.ts";

/** What every snapshotter does. */
export const snapshotCases: readonly ConformanceCase<SnapshotSubject>[] = [...snapshotKeyCases, ...snapshotLayerCases];
