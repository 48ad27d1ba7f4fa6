export { daemonUuid } from "./daemon-uuid.ts";
export { createDeprecationLog } from "./deprecation-log.ts";
export { createHealthService } from "./health-service.ts";
export type { IntrospectionSources } from "./introspection-service.ts";
export { createIntrospectionService } from "./introspection-service.ts";
