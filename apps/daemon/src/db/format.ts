import type { Finding, StorageStats } from "@berth/metadata/offline";

const MIB = 1024 ** 2;

/** This makes a line of a finding, and a second one of its repair. */
export function formatFinding({ severity, kind, namespace, subject, detail, repair }: Finding): string {
  const place = namespace === undefined ? "" : `${namespace}: `;
  const line = `${severity.padEnd(7)} ${kind}: ${place}${printable(subject)}: ${printable(detail)}`;
  return repair === undefined ? line : `${line}\n  repair: ${repair.action}`;
}

/** This makes a table of sizes and counts for people. */
export function formatStats(stats: StorageStats): string {
  const { database, content } = stats;
  const lines = [
    `database ${database.path}: ${mebibytes(database.sizeBytes)} (${mebibytes(database.allocatedBytes)} on disk), schema version ${database.schemaVersion}`,
    `content: ${content.blobs} blobs, ${mebibytes(content.bytes)}, ${content.ingests} ingests`,
    ...Object.entries(stats.snapshotters).map(([name, { snapshots }]) => `snapshotter ${name}: ${snapshots} snapshots`),
  ];
  for (const [namespace, tables] of Object.entries(stats.records)) {
    lines.push(`namespace ${namespace}: ${mebibytes(stats.contentBytes[namespace] ?? 0)} of content`);
    for (const [table, count] of Object.entries(tables)) lines.push(`  ${table}: ${count}`);
  }
  if (database.damagedRecords > 0) lines.push(`damaged records: ${database.damagedRecords}`);
  return `${lines.join("\n")}\n`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

/** Names are anybody's: they must not move the cursor of a terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (character) => JSON.stringify(character).slice(1, -1));
}
