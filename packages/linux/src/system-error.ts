import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";

/** Errors that libuv has no name for and the calls of this package return. */
const FURTHER: readonly (readonly [number, string, string])[] = [
  [15, "ENOTBLK", "block device required"],
  [61, "ENODATA", "no data available"],
  [116, "ESTALE", "stale file handle"],
  [117, "EUCLEAN", "structure needs cleaning"],
];

function describe(errno: number): readonly [name: string, message: string] {
  const known = getSystemErrorMap().get(-errno);
  if (known) return known;
  const further = FURTHER.find(([number]) => number === errno);
  if (further) return [further[1], further[2]];
  const named = Object.entries(constants.errno).find(([, number]) => number === errno);
  return [named?.[0] ?? `E${errno}`, "system call failed"];
}

/** What `systemError` makes: the shape of the errors of Node's `fs`. */
export interface LinuxError extends Error {
  readonly code: string;
  /** Negative, as Node has it. */
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
  readonly dest?: string;
}

function text(path: string | Uint8Array): string {
  return typeof path === "string" ? path : new TextDecoder().decode(path);
}

/** This makes the error that Node's `fs` would throw for an errno: `ENOENT: no such file or directory, open '/x'`. */
export function systemError(
  errno: number,
  syscall: string,
  path?: string | Uint8Array,
  destination?: string | Uint8Array,
): LinuxError {
  const [code, description] = describe(errno);
  const from = path === undefined ? "" : ` '${text(path)}'`;
  const to = destination === undefined ? "" : ` -> '${text(destination)}'`;
  return Object.assign(new Error(`${code}: ${description}, ${syscall}${from}${to}`), {
    code,
    errno: -errno,
    syscall,
    ...(path === undefined ? {} : { path: text(path) }),
    ...(destination === undefined ? {} : { dest: text(destination) }),
  });
}
