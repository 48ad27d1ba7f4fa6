export { LayerEngine, type LayerEngineOptions, createLayerEngine } from "./layer-engine.ts";
export { type ApplierOptions, createApplier, type OwnedApplier } from "./applier.ts";
export { type ComparerOptions, createComparer } from "./comparer.ts";
export type { ApplyBudgets } from "./layer-job.ts";
export { createErofsApplier, type ErofsApplierOptions } from "./erofs-applier.ts";
export { layerCompression } from "./layer-media-type.ts";
export type { StreamProcessor } from "./processor-chain.ts";
