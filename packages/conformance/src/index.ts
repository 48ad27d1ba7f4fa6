export type { ConformanceCase, TestRunner } from "./run-conformance.ts";
export { runConformance } from "./run-conformance.ts";
