export type { BuildErofsCacheOptions } from "./build-erofs-cache.ts";
export { buildErofsCache } from "./build-erofs-cache.ts";
export type { ConvertImageOptions } from "./convert-image.ts";
export { convertImage } from "./convert-image.ts";
