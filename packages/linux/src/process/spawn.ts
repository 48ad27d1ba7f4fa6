import { bind, type NativePath, nativePath } from "../libc.ts";
import { closeFd, dup } from "../files/descriptors.ts";
import { systemError } from "../system-error.ts";

type Block = Uint8Array;
type Strings = readonly (string | null)[];

const native = {
  spawn: bind<[Int32Array, string, Block, Block, Strings, Strings], number>("posix_spawn", "int", [
    "void *",
    "str",
    "void *",
    "void *",
    "str *",
    "str *",
  ]),
  spawnp: bind<[Int32Array, string, Block, Block, Strings, Strings], number>("posix_spawnp", "int", [
    "void *",
    "str",
    "void *",
    "void *",
    "str *",
    "str *",
  ]),
  actionsInit: bind<[Block], number>("posix_spawn_file_actions_init", "int", ["void *"]),
  actionsDestroy: bind<[Block], number>("posix_spawn_file_actions_destroy", "int", ["void *"]),
  addDup2: bind<[Block, number, number], number>("posix_spawn_file_actions_adddup2", "int", ["void *", "int", "int"]),
  addOpen: bind<[Block, number, string, number, number], number>("posix_spawn_file_actions_addopen", "int", [
    "void *",
    "int",
    "str",
    "int",
    "uint",
  ]),
  addClose: bind<[Block, number], number>("posix_spawn_file_actions_addclose", "int", ["void *", "int"]),
  addCloseFrom: bind<[Block, number], number>("posix_spawn_file_actions_addclosefrom_np", "int", ["void *", "int"]),
  addChdir: bind<[Block, string], number>("posix_spawn_file_actions_addchdir_np", "int", ["void *", "str"]),
  attrInit: bind<[Block], number>("posix_spawnattr_init", "int", ["void *"]),
  attrDestroy: bind<[Block], number>("posix_spawnattr_destroy", "int", ["void *"]),
  attrFlags: bind<[Block, number], number>("posix_spawnattr_setflags", "int", ["void *", "int16"]),
  attrDefault: bind<[Block, Block], number>("posix_spawnattr_setsigdefault", "int", ["void *", "void *"]),
  attrMask: bind<[Block, Block], number>("posix_spawnattr_setsigmask", "int", ["void *", "void *"]),
  attrGroup: bind<[Block, number], number>("posix_spawnattr_setpgroup", "int", ["void *", "int"]),
};

const SETPGROUP = 0x02;
const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const SETSID = 0x80;
const O_RDWR = 2;
const EINVAL = 22;
const BLOCK_SIZE = 512; // posix_spawn_file_actions_t is 80 bytes and posix_spawnattr_t 336, on both architectures
const SIGNAL_SET_SIZE = 128;

/** What a descriptor of the child is: one of the parent's, or /dev/null. */
export type ChildDescriptor = number | "null";

/** What to start, and what it sees. */
export interface SpawnOptions {
  /** A path, or a name without a slash that is looked up on this process's PATH. A relative path counts from `cwd`. */
  readonly path: string;
  /** The arguments after the name of the program. */
  readonly args: readonly string[];
  /** What the program sees as its own name; default `path`. */
  readonly argv0?: string;
  /** The whole environment of the child: nothing is inherited. */
  readonly env: Readonly<Record<string, string | undefined>> | readonly string[];
  readonly cwd?: string;
  /** Descriptors 0, 1, 2 … of the child. Default: three times "null". */
  readonly stdio?: readonly ChildDescriptor[];
  /** Further descriptors: number in the child → number here. */
  readonly extraFds?: ReadonlyMap<number, number>;
  /** Start a session of its own, and so a process group. */
  readonly newSession?: boolean;
  /** Start a process group of its own. */
  readonly newProcessGroup?: boolean;
  /** Give the child default signal handling and an empty mask (default): Node ignores SIGPIPE and that would be inherited. */
  readonly resetSignals?: boolean;
}

function must(errno: number, call: string, path?: NativePath): void {
  if (errno !== 0) throw systemError(errno, call, path);
}

function layout(options: SpawnOptions): Map<number, ChildDescriptor> {
  const table = new Map<number, ChildDescriptor>((options.stdio ?? ["null", "null", "null"]).entries());
  for (const [child, parent] of options.extraFds ?? []) table.set(child, parent);
  for (const [child, parent] of table) {
    const valid =
      Number.isInteger(child) && child >= 0 && (parent === "null" || (Number.isInteger(parent) && parent >= 0));
    if (!valid) throw systemError(EINVAL, "posix_spawn", options.path);
  }
  return table;
}

function addActions(actions: Block, options: SpawnOptions, undo: DisposableStack): void {
  const table = layout(options);
  const top = Math.max(2, ...table.keys());
  for (let child = 0; child <= top; child += 1) {
    const parent = table.get(child);
    if (parent === "null") must(native.addOpen(actions, child, "/dev/null", O_RDWR, 0), "posix_spawn", options.path);
    if (typeof parent === "number") {
      // a copy above every number of the child: the order of the dup2 calls cannot overwrite what is still needed
      const copy = dup(parent, top + 1);
      undo.defer(() => closeFd(copy));
      must(native.addDup2(actions, copy, child), "posix_spawn", options.path);
    }
  }
  for (let child = 0; child <= top; child += 1) {
    if (!table.has(child)) must(native.addClose(actions, child), "posix_spawn", options.path);
  }
  must(native.addCloseFrom(actions, top + 1), "posix_spawn", options.path);
  if (options.cwd !== undefined) {
    // `nativePath` gives text back for text
    const cwd = nativePath(options.cwd, "posix_spawn") as string;
    must(native.addChdir(actions, cwd), "posix_spawn", options.cwd);
  }
}

function setAttributes(attributes: Block, options: SpawnOptions): void {
  let flags = options.newSession ? SETSID : options.newProcessGroup ? SETPGROUP : 0;
  if (options.resetSignals !== false) flags |= SETSIGDEF | SETSIGMASK;
  must(native.attrFlags(attributes, flags), "posix_spawn");
  must(native.attrGroup(attributes, 0), "posix_spawn");
  must(native.attrDefault(attributes, new Uint8Array(SIGNAL_SET_SIZE).fill(0xff)), "posix_spawn");
  must(native.attrMask(attributes, new Uint8Array(SIGNAL_SET_SIZE)), "posix_spawn");
}

function environment(env: SpawnOptions["env"]): string[] {
  // `Array.isArray` does not narrow a readonly array
  if (Array.isArray(env)) return [...(env as readonly string[])];
  return Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}

/**
 * This starts a program with `posix_spawn` and returns its process id; the caller waits for it (`waitPid`, `ChildReaper`).
 *
 * The child has exactly the descriptors of `stdio` and `extraFds` and no other one. The cost does not grow with this process.
 * @throws ENOENT, EACCES, … - the program cannot be started; no process is left
 * @throws EBADF - a descriptor given is not open
 */
export function spawn(options: SpawnOptions): number {
  const args = [options.argv0 ?? options.path, ...options.args];
  const env = environment(options.env);
  for (const word of [options.path, ...args, ...env]) nativePath(word, "posix_spawn");
  using undo = new DisposableStack();
  const actions = new Uint8Array(BLOCK_SIZE);
  must(native.actionsInit(actions), "posix_spawn");
  undo.defer(() => native.actionsDestroy(actions));
  const attributes = new Uint8Array(BLOCK_SIZE);
  must(native.attrInit(attributes), "posix_spawn");
  undo.defer(() => native.attrDestroy(attributes));
  addActions(actions, options, undo);
  setAttributes(attributes, options);
  const pid = new Int32Array(1);
  const start = options.path.includes("/") ? native.spawn : native.spawnp;
  must(start(pid, options.path, actions, attributes, [...args, null], [...env, null]), "posix_spawn", options.path);
  return pid[0] ?? -1;
}
