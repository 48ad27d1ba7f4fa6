import { closeSync, openSync, writeFileSync } from "node:fs";

import { invalidArgument } from "@berth/errors";

import { bind, check, koffi, SYS } from "../libc.ts";
import { AT_RECURSIVE, attach, cloneMount, native as mountNative } from "./mount-calls.ts";

type Pointer = bigint | null;

const native = {
  clone: bind<[Pointer, Pointer, number, Pointer], number>("clone", "int", ["void *", "void *", "int", "void *"]),
  waitpid: bind<[number, Int32Array, number], number>("waitpid", "int", ["int", "void *", "int"]),
};

const CLONE_VM = 0x100;
const CLONE_VFORK = 0x4000;
const CLONE_NEWUSER = 0x10000000;
const WAIT_CLONE = 0x40000000 | 0; // __WALL
const STACK_SIZE = 65_536;

const AT_EMPTY_PATH = 0x1000;
const MOUNT_ATTR_IDMAP = 0x00100000;

function mapLines(option: string, map: string): string {
  return map
    .split(",")
    .map((entry) => {
      const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(entry);
      if (!match) throw invalidArgument(`${option} ${JSON.stringify(map)} is not container:host:size`);
      return `${match[1]} ${match[2]} ${match[3]}\n`;
    })
    .join("");
}

/**
 * This returns a descriptor of a new user namespace with the given maps; the caller closes it.
 *
 * The namespace needs a process to be born with. It is a clone that shares memory and only calls `sched_yield`, with this
 * thread suspended until it has ended (as in vfork); the maps are written while it is a zombie. It sends no SIGCHLD.
 * @throws invalid_argument - a map is malformed
 * @throws EPERM - this process may not map these ids
 */
export function openUserNamespace(uidMap: string, gidMap: string): number {
  const uids = mapLines("uidmap", uidMap);
  const gids = mapLines("gidmap", gidMap);
  const library = koffi().load("libc.so.6");
  const stack = new Uint8Array(STACK_SIZE);
  const top = ((koffi().address(stack) + BigInt(STACK_SIZE)) / 16n) * 16n - 64n;
  const flags = CLONE_VM | CLONE_VFORK | CLONE_NEWUSER;
  const pid = check(native.clone(library.symbol("sched_yield"), top, flags, null), "clone");
  try {
    writeFileSync(`/proc/${pid}/uid_map`, uids);
    writeFileSync(`/proc/${pid}/gid_map`, gids);
    return openSync(`/proc/${pid}/ns/user`, "r");
  } finally {
    native.waitpid(pid, new Int32Array(1), WAIT_CLONE);
    stack.fill(0, 0, 1); // holds the stack until here
  }
}

/** What an idmapped clone of a tree is made of. */
export interface IdmapOptions {
  readonly uidMap: string;
  readonly gidMap: string;
  /** Take the mounts below along. */
  readonly recursive?: boolean;
  /** MOUNT_ATTR_* bits to set besides. */
  readonly attributes?: number;
}

/**
 * This mounts a directory at another place with its owners mapped.
 * @throws EINVAL - the file system cannot be idmapped
 */
export async function bindIdmapped(source: string, target: string, options: IdmapOptions): Promise<void> {
  using stack = new DisposableStack();
  const namespace = stack.adopt(openUserNamespace(options.uidMap, options.gidMap), closeSync);
  const recursive = options.recursive ? AT_RECURSIVE : 0;
  const tree = stack.adopt(await cloneMount(source, recursive), closeSync);
  const set = BigInt(MOUNT_ATTR_IDMAP | (options.attributes ?? 0));
  const attributes = new BigUint64Array([set, 0n, 0n, BigInt(namespace)]);
  const setFlags = AT_EMPTY_PATH | recursive;
  const result = mountNative.mountSetattr(SYS.mountSetattr, tree, "", setFlags, attributes, attributes.byteLength);
  check(result, "mount_setattr", source);
  await attach(tree, target);
}
