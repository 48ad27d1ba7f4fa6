import { bind, check, type NativePath, nativePath, SYS } from "../libc.ts";
import { systemError } from "../system-error.ts";

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

/** This attaches a detached mount at a path. */
export function attach(mount: number, target: string): void {
  nativePath(target, "move_mount");
  const result = native.moveMount(SYS.moveMount, mount, "", -100, target, MOVE_MOUNT_F_EMPTY_PATH);
  check(result, "move_mount", target);
}

/** This calls mount(2) in libuv's pool; the error names the target. */
export async function callMountInPool(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): Promise<void> {
  for (const text of [source, target, type, data]) nativePath(text, "mount");
  const { result, errno } = await native.mount.async(source, target, type, flags, data === "" ? null : data);
  if (result === -1) throw systemError(errno, "mount", target);
}

/** This calls mount(2); the error names the target. */
export function callMount(source: string, target: string, type: string, flags: number, data: string): void {
  for (const text of [source, target, type, data]) nativePath(text, "mount");
  check(native.mount(source, target, type, flags, data === "" ? null : data), "mount", target);
}
