import type { DaemonConfig } from "../config/daemon-config.ts";

/** What the commands need of the program around them. */
export interface DbProgram {
  loadConfig(): Promise<DaemonConfig>;
  /** Sets the exit code of a command that did its work and found something wrong. */
  setExitCode(code: number): void;
}

/** How results are printed. */
export type OutputFormat = "text" | "json";

/** Flags of all commands. */
export interface DbFlags {
  readonly format: OutputFormat;
  readonly verify?: boolean;
  readonly apply?: boolean;
  readonly dryRun?: boolean;
  readonly releaseUnknown?: boolean;
  readonly namespace?: string;
}
