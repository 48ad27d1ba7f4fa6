import { mkdir, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { DatabaseHeaderSchema } from "@berth/api/berth/metadata/v1/database";
import { Database } from "@berth/database";
import { isNotFound, wrapError } from "@berth/errors";

import { allMigrations, latestVersion } from "../database/migrations.ts";
import { type Backends, surveyBackends } from "../gc/survey-backends.ts";

const HEADER_KEY = Uint8Array.of(0);
const MAP_SIZE_BYTES = 64 * 1024 ** 3;

/**
 * This puts a new database in the place of one that cannot be opened, which stays beside it under another name, or of none.
 * Numbers that backends have names with are not given again.
 */
export async function replaceDatabase(path: string, backends: Backends): Promise<void> {
  const sequenceLimit = (await surveyBackends(backends)).highestSequence + 1n;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await putAside(path);
  await rm(`${path}-lock`, { force: true });
  await using database = await Database.open({ path, mapSizeBytes: MAP_SIZE_BYTES, fatal: () => {} });
  const header = create(DatabaseHeaderSchema, { schemaVersion: latestVersion(allMigrations), sequenceLimit });
  await database.update((entries) => entries.put(HEADER_KEY, toBinary(DatabaseHeaderSchema, header)));
}

async function putAside(path: string): Promise<void> {
  try {
    await rename(path, `${path}.damaged-${new Date().toISOString().replaceAll(":", "")}`);
  } catch (error) {
    if (!isNotFound(error)) throw wrapError(error, "put database aside");
  }
}
