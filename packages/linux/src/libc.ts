import { createRequire } from "node:module";

import type { LibraryHandle } from "koffi";

import { systemError } from "./system-error.ts";

type Koffi = typeof import("koffi");
type KoffiFunction = ReturnType<LibraryHandle["func"]>;

/** A path as the kernel takes it: text (UTF-8) or raw bytes, without a NUL inside. */
export type NativePath = string | Uint8Array;

/** A C function of libc, found at its first call. */
export interface NativeFunction<A extends readonly unknown[], R> {
  (...args: A): R;
  /** This runs the call in libuv's pool and resolves with its result and errno. */
  async(...args: A): Promise<{ readonly result: R; readonly errno: number }>;
}

let koffiModule: Koffi | undefined;
let library: LibraryHandle | undefined;

/** This loads koffi, once; importing it eagerly would cost every command that never makes a foreign call 10 to 20 ms. */
export function koffi(): Koffi {
  // `require` is untyped; the type is that of the very module it names
  koffiModule ??= createRequire(import.meta.url)("koffi") as Koffi;
  return koffiModule;
}

function lookUp(name: string, result: string, parameters: readonly string[]): KoffiFunction {
  library ??= koffi().load("libc.so.6");
  return library.func(name, result, [...parameters]);
}

/** This declares a function of libc; nothing is loaded before the first call. */
export function bind<A extends readonly unknown[], R>(
  name: string,
  result: string,
  parameters: readonly string[],
): NativeFunction<A, R> {
  let found: KoffiFunction | undefined;
  // koffi returns `any`: the declared C type decides what it really is
  const call = (...args: A): R => (found ??= lookUp(name, result, parameters))(...args) as R;
  const runAsync = (...args: A) =>
    new Promise<{ result: R; errno: number }>((resolve, reject) => {
      found ??= lookUp(name, result, parameters);
      found.async(...args, (error: Error | null, value: R) => {
        // What the call reads and writes must be there until it has ended.
        void args;
        if (error) reject(error);
        else resolve({ result: value, errno: koffi().errno() });
      });
    });
  return Object.assign(call, { async: runAsync });
}

/** This reads errno; nothing may happen between the failed call and this one. */
export function lastErrno(): number {
  return koffi().errno();
}

/** This throws the last error when a call answered −1 and returns its answer otherwise. */
export function check(result: number, syscall: string, path?: NativePath, destination?: NativePath): number {
  if (result !== -1) return result;
  throw systemError(koffi().errno(), syscall, path, destination);
}

/** This waits for a call in libuv's pool, throws its error when it answered −1 and returns its answer otherwise. */
export async function checkInPool(
  call: Promise<{ readonly result: number; readonly errno: number }>,
  syscall: string,
  path?: NativePath,
): Promise<number> {
  const { result, errno } = await call;
  if (result === -1) throw systemError(errno, syscall, path);
  return result;
}

/**
 * This prepares a path for a call: C would end a string at its first NUL and act on another file than the one named.
 * @throws EINVAL - the path holds a NUL
 */
export function nativePath(path: NativePath, syscall: string): NativePath {
  if (typeof path === "string") {
    if (path.includes("\0")) throw systemError(22, syscall, path);
    return path;
  }
  if (path.includes(0)) throw systemError(22, syscall, path);
  const terminated = new Uint8Array(path.length + 1);
  terminated.set(path);
  return terminated;
}

/** The directory descriptor that stands for the working directory. */
export const AT_FDCWD = -100;

/** Numbers of system calls without a wrapper in every glibc; from 424 on they are the same on x64 and arm64. */
export const SYS = {
  openTree: 428,
  moveMount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pidfdOpen: 434,
  openat2: 437,
  mountSetattr: 442,
} as const;
