import { contentBlobCases } from "./content-blob-cases.ts";
import type { ContentSubject } from "./content-subject.ts";
import { contentWriterCases } from "./content-writer-cases.ts";
import type { ConformanceCase } from "./run-conformance.ts";

export { contentLabelCases } from "./content-label-cases.ts";
export type { ContentSubject } from "./content-subject.ts";

/** What every content store does. Those that keep labels run `contentLabelCases` too. */
export const contentCases: readonly ConformanceCase<ContentSubject>[] = [...contentWriterCases, ...contentBlobCases];
