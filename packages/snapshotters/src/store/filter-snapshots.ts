import type { ListOptions } from "@berth/core/content";
import type { SnapshotInfo } from "@berth/core/snapshots";
import { adapt, parseFilters } from "@berth/filters";

/** This picks the snapshots that a list asks for. @throws invalid_argument - a filter is none */
export function* filterSnapshots(infos: Iterable<SnapshotInfo>, options: ListOptions): Iterable<SnapshotInfo> {
  const filter = parseFilters(options.filters ?? []);
  for (const info of infos) {
    options.signal?.throwIfAborted();
    const { kind, name, parent, labels } = info;
    if (filter.matches(adapt({ kind, name, parent }, { labels }))) yield info;
  }
}
