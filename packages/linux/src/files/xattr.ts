import { bind, check, lastErrno, type NativePath, nativePath } from "../libc.ts";
import { systemError } from "../system-error.ts";

type Get<P> = [P, string, Uint8Array, number];
type Set<P> = [P, string, Uint8Array, number, number];

function family<P>(prefix: string, subject: string) {
  return {
    get: bind<Get<P>, number>(`${prefix}getxattr`, "long", [subject, "str", "void *", "size_t"]),
    set: bind<Set<P>, number>(`${prefix}setxattr`, "int", [subject, "str", "void *", "size_t", "int"]),
    list: bind<[P, Uint8Array, number], number>(`${prefix}listxattr`, "long", [subject, "void *", "size_t"]),
    remove: bind<[P, string], number>(`${prefix}removexattr`, "int", [subject, "str"]),
  };
}

const byPath = family<NativePath>("l", "str");
const byDescriptor = family<number>("f", "int");

/** The kernel's limit for a value and for a list of names: one buffer fits every answer, so that one call is enough. */
const LIMIT = 65_536;
let answers: Uint8Array | undefined;

const ENODATA = 61;
const EOPNOTSUPP = 95;
const EINVAL = 22;

function described(subject: NativePath | number): NativePath {
  return typeof subject === "number" ? `fd ${subject}` : subject;
}

function checkName(name: string, syscall: string): void {
  if (name.includes("\0")) throw systemError(EINVAL, syscall, name);
}

/**
 * This returns the value of an extended attribute of a path (of a symbolic link itself) or an open descriptor.
 * @throws ENODATA - there is no such attribute
 * @throws EOPNOTSUPP - the file system or the kind of file has none
 */
export function lgetxattr(subject: NativePath | number, name: string): Uint8Array {
  const value = findXattr(subject, name, "lgetxattr");
  if (value === undefined) throw systemError(ENODATA, "lgetxattr", described(subject));
  return value;
}

/** This returns the value of an extended attribute and `undefined` where there is none or the file system has none. */
export function lfindxattr(subject: NativePath | number, name: string): Uint8Array | undefined {
  try {
    return findXattr(subject, name, "lgetxattr");
  } catch (error) {
    if (error instanceof Error && "errno" in error && error.errno === -EOPNOTSUPP) return undefined;
    throw error;
  }
}

function findXattr(subject: NativePath | number, name: string, syscall: string): Uint8Array | undefined {
  checkName(name, syscall);
  answers ??= new Uint8Array(LIMIT);
  const length =
    typeof subject === "number"
      ? byDescriptor.get(subject, name, answers, LIMIT)
      : byPath.get(nativePath(subject, syscall), name, answers, LIMIT);
  if (length !== -1) return answers.slice(0, length);
  const errno = lastErrno();
  if (errno === ENODATA) return undefined;
  throw systemError(errno, syscall, described(subject));
}

/** How `lsetxattr` treats what is there: `create` fails with EEXIST, `replace` with ENODATA. */
export interface SetXattrOptions {
  readonly mode?: "create" | "replace";
}

/** This sets an extended attribute of a path (of a symbolic link itself) or an open descriptor; any bytes are a value. */
export function lsetxattr(
  subject: NativePath | number,
  name: string,
  value: Uint8Array,
  options?: SetXattrOptions,
): void {
  checkName(name, "lsetxattr");
  const flags = options?.mode === "create" ? 1 : options?.mode === "replace" ? 2 : 0;
  const result =
    typeof subject === "number"
      ? byDescriptor.set(subject, name, value, value.length, flags)
      : byPath.set(nativePath(subject, "lsetxattr"), name, value, value.length, flags);
  check(result, "lsetxattr", described(subject));
}

/** This lists the names of the extended attributes, in the order of the kernel. */
export function llistxattr(subject: NativePath | number): string[] {
  answers ??= new Uint8Array(LIMIT);
  const length =
    typeof subject === "number"
      ? byDescriptor.list(subject, answers, LIMIT)
      : byPath.list(nativePath(subject, "llistxattr"), answers, LIMIT);
  check(length, "llistxattr", described(subject));
  if (length === 0) return [];
  return new TextDecoder().decode(answers.subarray(0, length - 1)).split("\0");
}

/** This removes an extended attribute. @throws ENODATA - there is none of that name */
export function lremovexattr(subject: NativePath | number, name: string): void {
  checkName(name, "lremovexattr");
  const result =
    typeof subject === "number"
      ? byDescriptor.remove(subject, name)
      : byPath.remove(nativePath(subject, "lremovexattr"), name);
  check(result, "lremovexattr", described(subject));
}
