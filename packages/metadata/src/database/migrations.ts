import type { WriteTransaction } from "@berth/database";

/** A step to the layout of one version from that of the version before it. */
export interface Migration {
  /** The version that it leads to; versions count up without gaps. */
  readonly version: number;
  /** What it does, for the log. */
  readonly title: string;
  run(entries: WriteTransaction): void;
}

/** The first layout, which needs no step. */
const FIRST_VERSION = 1;

/**
 * Every step there ever was, so that a database of any age can be opened. A layout that older versions of berth would
 * misread gets a step even where nothing has to be rewritten: it keeps them away.
 */
export const allMigrations: readonly Migration[] = [
  {
    version: 2,
    title: "records of sandboxes",
    // An older berth would not see them, and collect what their labels refer to.
    run: () => {},
  },
];

/** This returns the version that a list of steps leads to. */
export function latestVersion(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? FIRST_VERSION;
}
