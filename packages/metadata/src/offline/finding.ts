import type { OfflineTransaction } from "./offline-database.ts";

/** How much a finding matters: an error is something that does not work any more. */
export type Severity = "error" | "warning" | "info";

/** What a repair does about a finding. */
export interface Repair {
  /** What it does, as a sentence without a subject. */
  readonly action: string;
  /** Changes of the database. */
  readonly change?: (tx: OfflineTransaction) => void;
  /** Changes of a backend, before those of the database. */
  readonly prepare?: () => Promise<void>;
}

/** Something that is not as it should be, or worth knowing. */
export interface Finding {
  readonly severity: Severity;
  /** Names the kind for programs. */
  readonly kind: string;
  readonly namespace?: string;
  /** What it is about, by kind and name. */
  readonly subject: string;
  readonly detail: string;
  readonly repair?: Repair;
}
