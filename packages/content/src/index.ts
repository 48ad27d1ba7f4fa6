export type { LocalContentStoreOptions } from "./local-content-store.ts";
export { createLocalContentStore } from "./local-content-store.ts";
export type { OpenContentStore } from "./open-content-store.ts";
export { openContentStore } from "./open-content-store.ts";
