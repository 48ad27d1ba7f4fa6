export type { NriOptions } from "./nri-runtime.ts";
export { LocalNri } from "./nri-runtime.ts";
