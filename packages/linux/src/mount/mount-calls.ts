import { AT_FDCWD, bind, checkInPool, type NativePath, nativePath, SYS } from "../libc.ts";

type Text = string | null;

export const native = {
  mount: bind<[Text, string, Text, number, Text], number>("mount", "int", ["str", "str", "str", "ulong", "str"]),
  umount2: bind<[NativePath, number], number>("umount2", "int", ["str", "int"]),
  fsopen: bind<[number, string, number], number>("syscall", "long", ["long", "str", "uint"]),
  fsconfig: bind<[number, number, number, Text, Text, number], number>("syscall", "long", [
    "long",
    "int",
    "uint",
    "str",
    "str",
    "int",
  ]),
  fsmount: bind<[number, number, number, number], number>("syscall", "long", ["long", "int", "uint", "uint"]),
  moveMount: bind<[number, number, string, number, string, number], number>("syscall", "long", [
    "long",
    "int",
    "str",
    "int",
    "str",
    "uint",
  ]),
  openTree: bind<[number, number, string, number], number>("syscall", "long", ["long", "int", "str", "uint"]),
  mountSetattr: bind<[number, number, string, number, BigUint64Array, number], number>("syscall", "long", [
    "long",
    "int",
    "str",
    "uint",
    "void *",
    "size_t",
  ]),
};

const MOVE_MOUNT_F_EMPTY_PATH = 4;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
export const AT_RECURSIVE = 0x8000;

/** This returns the descriptor of a detached copy of the mount that shows a path, in libuv's pool; the caller closes it. */
export async function cloneMount(path: string, flags: 0 | typeof AT_RECURSIVE = 0): Promise<number> {
  nativePath(path, "open_tree");
  const openFlags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags;
  return checkInPool(native.openTree.async(SYS.openTree, AT_FDCWD, path, openFlags), "open_tree", path);
}

/** This attaches a detached mount at a path, in libuv's pool: the path may have to be read from a disk. */
export async function attach(mount: number, target: string): Promise<void> {
  nativePath(target, "move_mount");
  const call = native.moveMount.async(SYS.moveMount, mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  await checkInPool(call, "move_mount", target);
}

/**
 * This calls mount(2) in libuv's pool: a file system may have a journal to replay, overlay makes files in its work directory, and
 * even the paths of a bind mount may have to be read from a busy disk. The error names the target.
 */
export async function callMount(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): Promise<void> {
  for (const text of [source, target, type, data]) nativePath(text, "mount");
  await checkInPool(native.mount.async(source, target, type, flags, data === "" ? null : data), "mount", target);
}
