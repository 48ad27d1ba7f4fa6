import { unimplemented } from "@berth/errors";

import { bind } from "../libc.ts";

const native = {
  signal: bind<[number, null], bigint>("signal", "intptr", ["int", "void *"]),
};

/** What Node ignores: a program that is executed would go on ignoring it. */
const SIGPIPE = 13;
const SIGXFSZ = 25;

/** The program that this process becomes. */
export interface ReplacementProgram {
  /** A path; nothing is looked up. */
  readonly path: string;
  /** The arguments, its own name first. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** This makes the process another program, with default signal handling and the standard streams alone; it does not return. @throws ENOENT, EACCES, … */
export function replaceProcess({ path, args, env }: ReplacementProgram): never {
  if (process.execve === undefined) throw unimplemented("this platform has no execve");
  for (const signal of [SIGPIPE, SIGXFSZ]) native.signal(signal, null);
  // Of what is open, Node leaves only the standard streams to the program.
  return process.execve(path, args, env);
}
