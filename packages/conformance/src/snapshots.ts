import type { ConformanceCase } from "./run-conformance.ts";
import { snapshotKeyCases } from "./snapshots-key-cases.ts";
import { snapshotLayerCases } from "./snapshots-layer-cases.ts";
import type { SnapshotSubject } from "./snapshots-subject.ts";

export { snapshotLimitCases, snapshotWithoutLimitCases } from "./snapshots-limit-cases.ts";
export type { SnapshotSubject } from "./snapshots-subject.ts";

/** The rules that every snapshotter keeps. */
export const snapshotCases: readonly ConformanceCase<SnapshotSubject>[] = [...snapshotKeyCases, ...snapshotLayerCases];
