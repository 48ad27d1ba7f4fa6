export { ApplyEngine, type ApplyEngineOptions, createApplyEngine } from "./apply-engine.ts";
export { type ApplierOptions, createApplier, type OwnedApplier } from "./applier.ts";
export type { ApplyBudgets } from "./apply-job.ts";
export { layerCompression } from "./layer-media-type.ts";
