export type { GcStats } from "./gc/collector.ts";
export type { GcSchedulerOptions } from "./gc/scheduler.ts";
export { GcScheduler } from "./gc/scheduler.ts";
export type { CollectionTrigger } from "./metadata.ts";
export { Metadata } from "./metadata.ts";
export type { MetadataOptions } from "./open-metadata.ts";
export { openMetadata } from "./open-metadata.ts";
export type { SharingPolicy } from "./stores/backend-content.ts";
