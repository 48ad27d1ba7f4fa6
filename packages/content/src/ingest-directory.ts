import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

import type { IngestStatus } from "@berth/core/content";
import { ignoreNotFound, unknown } from "@berth/errors";

import { ingestName } from "./blob-path.ts";

/** The directory of one ingest: `ref`, `data`, `startedat`, `updatedat` and, when the size is known, `total`. */
export interface IngestDirectory {
  readonly path: string;
  readonly data: string;
}

/** What the files of a new ingest say. */
export interface NewIngest {
  readonly ref: string;
  readonly total: number;
  readonly startedAt: number;
}

/** This names the files of an ingest. */
export function ingestDirectory(path: string): IngestDirectory {
  return { path, data: join(path, "data") };
}

/**
 * This makes the directory of a new ingest, or makes one that a crash left half written whole. It keeps `data`.
 *
 * Nothing is put on disk by force: a power cut may lose the ingest, or leave files empty, which readers take as missing.
 */
export async function createIngest(directory: IngestDirectory, ingest: NewIngest): Promise<void> {
  try {
    await writeIngest(directory.path, ingest);
  } catch (error) {
    // Without its ref nobody could find it again. The first error tells more than a second.
    await removeIngest(directory).catch(() => {});
    throw error;
  }
}

async function writeIngest(path: string, ingest: NewIngest): Promise<void> {
  const { ref, total } = ingest;
  const now = new Date(ingest.startedAt).toISOString();
  await mkdir(path, { recursive: true, mode: 0o755 });
  const totalFile = join(path, "total");
  await Promise.all([
    total > 0 ? writeFile(totalFile, String(total)) : rm(totalFile, { force: true }),
    writeFile(join(path, "startedat"), now),
    writeFile(join(path, "updatedat"), now),
  ]);
  // Last: an ingest with a ref is whole.
  await writeFile(join(path, "ref"), ref, "utf8");
}

/** This notes that bytes arrived. */
export async function touchIngest(directory: IngestDirectory, at: number): Promise<void> {
  const target = join(directory.path, "updatedat");
  // Readers must never see half a time.
  await writeFile(`${target}.tmp`, new Date(at).toISOString());
  await rename(`${target}.tmp`, target);
}

/** This removes an ingest and its bytes; one that is not there is fine. */
export async function removeIngest({ path }: IngestDirectory): Promise<void> {
  const names = (await readdir(path).catch(ignoreNotFound)) ?? [];
  // The ref last: what a failure leaves can still be found by it, and removed.
  for (const name of names) if (name !== "ref") await rm(join(path, name), { recursive: true, force: true });
  await rm(path, { recursive: true, force: true });
}

/**
 * This reads the state of an ingest; `undefined` when there is none, or only what a crash left of its creation.
 *
 * @throws unknown - the directory holds another ref
 */
export async function findIngest(directory: IngestDirectory, ref?: string): Promise<IngestStatus | undefined> {
  const [stored, started, updated, total, data] = await Promise.all([
    findText(join(directory.path, "ref")),
    findText(join(directory.path, "startedat")),
    findText(join(directory.path, "updatedat")),
    findText(join(directory.path, "total")),
    stat(directory.data).catch(ignoreNotFound),
  ]);
  if (stored === undefined || stored === "") return undefined;
  if (ref !== undefined && stored !== ref) {
    throw unknown(`ingest ${directory.path} belongs to ref ${JSON.stringify(stored)}, not ${JSON.stringify(ref)}`);
  }
  const modifiedAt = data === undefined ? 0 : Math.floor(data.mtimeMs);
  const startedAt = parseTime(started) ?? (data === undefined ? Date.now() : Math.floor(data.birthtimeMs));
  return {
    ref: stored,
    offset: data?.size ?? 0,
    total: parseTotal(total),
    startedAt,
    updatedAt: Math.max(parseTime(updated) ?? startedAt, modifiedAt),
  };
}

/** This lists the ingest directories of a store, in the order of their names. */
export async function listIngests(ingestsPath: string): Promise<IngestDirectory[]> {
  const names = (await readdir(ingestsPath).catch(ignoreNotFound)) ?? [];
  return names.toSorted().map((name) => ingestDirectory(join(ingestsPath, name)));
}

/**
 * This removes what a crash left of the creation or the removal of ingests: directories without the ref that their name is the
 * hash of. Nobody could resume one, nor name it to have it removed. For a store that has no writers yet.
 */
export async function removeBrokenIngests(ingestsPath: string): Promise<void> {
  for (const directory of await listIngests(ingestsPath)) {
    const ref = await findText(join(directory.path, "ref"));
    const name = ref === undefined ? "" : ingestName(ref);
    if (name !== basename(directory.path)) await removeIngest(directory);
  }
}

function findText(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(ignoreNotFound);
}

function parseTime(text: string | undefined): number | undefined {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? undefined : time;
}

function parseTotal(text: string | undefined): number {
  return text !== undefined && /^\d{1,15}$/.test(text.trim()) ? Number(text) : 0;
}
