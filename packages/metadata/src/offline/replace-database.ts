import { mkdir, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

import { Database } from "@berth/database";
import { isNotFound, wrapError } from "@berth/errors";

import { MAP_SIZE_BYTES, newHeader, putHeader } from "../database/database-header.ts";
import { allMigrations, latestVersion } from "../database/migrations.ts";
import { type Backends, surveyBackends } from "../gc/survey-backends.ts";

/**
 * This puts a new database in the place of one that cannot be opened, which stays beside it under another name, or of none.
 * Numbers that backends have names with are not given again, and what they hold is not taken for garbage: also not what is in a snapshotter
 * that could not be looked at.
 */
export async function replaceDatabase(path: string, backends: Backends): Promise<void> {
  const { beginning } = await surveyBackends(backends);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await putAside(path);
  await rm(`${path}-lock`, { force: true });
  await using database = await Database.open({ path, mapSizeBytes: MAP_SIZE_BYTES, fatal: () => {} });
  await database.update((entries) => putHeader(entries, newHeader(latestVersion(allMigrations), beginning)));
}

async function putAside(path: string): Promise<void> {
  try {
    await rename(path, `${path}.damaged-${new Date().toISOString().replaceAll(":", "")}`);
  } catch (error) {
    if (!isNotFound(error)) throw wrapError(error, "put database aside");
  }
}
