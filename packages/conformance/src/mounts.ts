import { mountActivationCases } from "./mounts-activation-cases.ts";
import { mountPreparationCases } from "./mounts-preparation-cases.ts";
import type { MountSubject } from "./mounts-subject.ts";
import type { ConformanceCase } from "./run-conformance.ts";

export type { MountSubject } from "./mounts-subject.ts";

/** What every mount manager does. */
export const mountCases: readonly ConformanceCase<MountSubject>[] = [...mountActivationCases, ...mountPreparationCases];
