import { failedPrecondition } from "@berth/errors";
import { findProgram } from "@berth/linux/process";

import { readFileEnd } from "./read-file-end.ts";

/** What runc is told of a checkpoint. */
export interface CheckpointArguments {
  readonly imagePath: string;
  readonly workPath: string;
  readonly parentPath?: string | undefined;
  readonly leaveRunning?: boolean | undefined;
  readonly openTcp?: boolean | undefined;
  readonly externalUnixSockets?: boolean | undefined;
  readonly shellJob?: boolean | undefined;
  readonly fileLocks?: boolean | undefined;
  readonly emptyNamespaces?: readonly string[] | undefined;
  readonly cgroupsMode?: string | undefined;
}

/** The end of a log, in which the reasons of a failure are: a big container's is long. */
const READ_LIMIT = 256 * 1024;
const SHOWN_ERRORS = 5;
const SHOWN_LENGTH = 200;

/** What comes with every failure, whatever its reason, and what comes without one where root may not raise limits. */
const NO_REASON = /^(?:Dumping|Restoring) FAILED|^exited, status=\d+$|^rlimit: Can't setup RLIMIT_NOFILE for self/;

/** runc says only that a file was not found. @throws failed_precondition */
export function requireCriu(what: string): void {
  if (findProgram("criu") === undefined)
    throw failedPrecondition(`${what} needs CRIU: there is no program criu on PATH`);
}

/** This returns the flags of `runc checkpoint` and `runc restore` that both have. */
export function checkpointFlags(options: CheckpointArguments): string[] {
  const texts = [
    ["--image-path", options.imagePath],
    ["--work-path", options.workPath],
    ["--parent-path", options.parentPath],
    ["--manage-cgroups-mode", options.cgroupsMode],
  ] as const;
  const switches = [
    ["--tcp-established", options.openTcp],
    ["--ext-unix-sk", options.externalUnixSockets],
    ["--shell-job", options.shellJob],
    ["--file-locks", options.fileLocks],
  ] as const;
  return [
    ...texts.flatMap(([name, value]) => (value ? [name, value] : [])),
    ...switches.flatMap(([name, value]) => (value ? [name] : [])),
    ...(options.emptyNamespaces ?? []).flatMap((namespace) => ["--empty-ns", namespace]),
  ];
}

/**
 * This returns the last errors of CRIU's log, of which runc tells no more than the name; empty where there is none, or it was there before.
 *
 * @param since When the command began, in milliseconds: a log of an earlier one tells nothing of it.
 * @param reason What runc says.
 */
export function criuErrors(path: string, since: number, reason: string): readonly string[] {
  const errors = parseCriuErrors(readFileEnd(path, { limit: READ_LIMIT, since }));
  // runc 1.1 names the log itself
  return errors.length === 0 || reason.includes(path) ? errors : [`log file: ${path}`, ...errors];
}

/** This finds the errors in the text of a log of CRIU: the last ones, each once. */
export function parseCriuErrors(text: string): readonly string[] {
  const errors = new Set<string>();
  for (const line of text.split("\n")) {
    const [, error] = /^(?:\([\d.]+\)\s+)?(?:\d+: )?Error \([^()]*\): (.+)$/.exec(line) ?? [];
    if (error !== undefined && !NO_REASON.test(error)) errors.add(error.slice(0, SHOWN_LENGTH));
  }
  return [...errors].slice(-SHOWN_ERRORS);
}
