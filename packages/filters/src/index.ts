export type { Adaptor, Filter } from "./filter.ts";
export { adapt, matchAll } from "./filter.ts";
export { parseFilter, parseFilters } from "./parse-filter.ts";
