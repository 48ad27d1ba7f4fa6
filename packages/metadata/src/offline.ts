export type { ExportedRecord } from "./offline/export.ts";
export { exportRecords } from "./offline/export.ts";
export type { Finding, Severity } from "./offline/finding.ts";
export type { CheckOptions, OfflineStorage, RepairResult } from "./offline/inspect.ts";
export { checkStorage, repairStorage } from "./offline/inspect.ts";
export { OfflineDatabase } from "./offline/offline-database.ts";
export type { StorageStats } from "./offline/stats.ts";
export { storageStats } from "./offline/stats.ts";
