import { parseNamespace } from "@berth/core/namespaces";
import { invalidArgument } from "@berth/errors";
import type { CheckOptions, Finding, StorageStats } from "@berth/metadata/offline";
import { checkStorage, exportRecords, OfflineDatabase, repairStorage, storageStats } from "@berth/metadata/offline";

import { writeOutput } from "../write-output.ts";
import type { DbFlags, DbProgram, OutputFormat } from "./db-flags.ts";
import { formatFinding, formatStats } from "./format.ts";
import type { LockedStorage } from "./open-storage.ts";
import { openLockedStorage } from "./open-storage.ts";

/** This prints what is wrong; the exit code is 1 if something is broken. */
export async function runCheck(program: DbProgram, flags: DbFlags): Promise<void> {
  await using storage = await open(program);
  const output = new Output(flags.format, "findings");
  await output.begin();
  let broken = 0;
  for await (const finding of findAll(storage, checkOptions(flags))) {
    if (finding.severity === "error") broken++;
    await output.item(plain(finding), formatFinding(finding));
  }
  await output.end(broken === 0 ? "nothing is broken" : `${broken} broken`);
  if (broken > 0) program.setExitCode(1);
}

/** This prints what can be repaired, or repairs it; the exit code is 1 if a repair failed. */
export async function runRepair(program: DbProgram, flags: DbFlags): Promise<void> {
  if (flags.apply === true && flags.dryRun === true) throw invalidArgument("--apply and --dry-run exclude each other");
  await using storage = await open(program);
  const output = new Output(flags.format, flags.apply === true ? "repairs" : "proposals");
  await output.begin();
  let count = 0;
  let failures = 0;
  for await (const { finding, failure } of repairs(storage, flags)) {
    count++;
    if (failure !== undefined) failures++;
    const outcome = failure === undefined ? {} : { failure };
    const lines = `${formatFinding(finding)}${failure === undefined ? "" : `\n  failed: ${failure}`}`;
    await output.item({ ...plain(finding), ...outcome }, lines);
  }
  const done = flags.apply === true ? `${count - failures} repaired, ${failures} failed` : `${count} to repair`;
  await output.end(flags.apply === true || count === 0 ? done : `${done}: run again with --apply`);
  if (failures > 0) program.setExitCode(1);
}

/** This prints every record, one to a line, as one JSON document. */
export async function runExport(program: DbProgram): Promise<void> {
  await using storage = await open(program);
  await using database = await OfflineDatabase.open(storage.path);
  const output = new Output("json", "records");
  await output.begin({ schemaVersion: database.schemaVersion, damagedRecords: database.damaged.length });
  for (const record of exportRecords(database)) await output.item(record, "");
  await output.end("");
}

/** This prints sizes and counts. */
export async function runStats(program: DbProgram, { format }: DbFlags): Promise<void> {
  await using storage = await open(program);
  await using database = await OfflineDatabase.open(storage.path);
  const stats: StorageStats = await storageStats(database, storage);
  await writeOutput(format === "json" ? `${JSON.stringify(stats, undefined, 2)}\n` : formatStats(stats));
}

async function open({ loadConfig }: DbProgram): Promise<LockedStorage> {
  return openLockedStorage(await loadConfig(), new AbortController().signal);
}

function checkOptions({ verify = false, namespace = "default", releaseUnknown = false }: DbFlags): CheckOptions {
  return { verify, releaseUnknown, namespace: parseNamespace(namespace) };
}

async function* findAll(storage: LockedStorage, options: CheckOptions): AsyncIterable<Finding> {
  for (const [name, reason] of storage.missing) {
    yield { severity: "error", kind: "broken-snapshotter", subject: `snapshotter ${name}`, detail: reason };
  }
  yield* checkStorage(storage, options);
}

async function* repairs(
  storage: LockedStorage,
  flags: DbFlags,
): AsyncIterable<{ readonly finding: Finding; readonly failure?: string }> {
  if (flags.apply === true) {
    yield* repairStorage(storage, checkOptions(flags));
    return;
  }
  for await (const finding of checkStorage(storage, checkOptions(flags))) {
    if (finding.repair !== undefined) yield { finding };
  }
}

/** A finding without what only a program can call. */
function plain({ repair, ...finding }: Finding): object {
  return { ...finding, ...(repair === undefined ? {} : { repair: repair.action }) };
}

/** Prints a list of any length, as lines or as one JSON document. */
class Output {
  readonly #format: OutputFormat;
  readonly #name: string;
  #first = true;

  constructor(format: OutputFormat, name: string) {
    this.#format = format;
    this.#name = name;
  }

  async begin(head: object = {}): Promise<void> {
    if (this.#format === "text") return;
    const fields = Object.entries(head).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)},`);
    await writeOutput(`{${fields.join("")}${JSON.stringify(this.#name)}:[`);
  }

  async item(value: object, text: string): Promise<void> {
    await writeOutput(this.#format === "text" ? `${text}\n` : `${this.#first ? "" : ","}\n${JSON.stringify(value)}`);
    this.#first = false;
  }

  async end(summary: string): Promise<void> {
    await writeOutput(this.#format === "text" ? `${summary}\n` : "\n]}\n");
  }
}
