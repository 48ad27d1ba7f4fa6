import { exceeded } from "./budgets.ts";
import type { TarHandlers } from "./tar-handlers.ts";
import type { TarHeader } from "./tar-header.ts";
import { formatTarHeader, type TarEntryInput } from "./tar-writer.ts";

/** What finding directories may cost. A budget that is exceeded ends it with resource_exhausted. */
export interface DirectoryBudgets {
  /** Directories of any kind; each takes some hundred bytes of memory. */
  readonly maxDirectories: number;
  /** Bytes of all paths together that are handed out. */
  readonly maxPathBytes: number;
}

const DEFAULT_DIRECTORY_BUDGETS: DirectoryBudgets = { maxDirectories: 1_000_000, maxPathBytes: 2 ** 28 };

interface Directory {
  isDescribed: boolean;
  children: Map<string, Directory> | undefined;
}

/** What the header of a directory may say besides its name. */
export type DirectoryAttributes = Pick<TarEntryInput, "mode" | "uid" | "gid" | "mtime" | "xattrs">;

/**
 * Finds the directories that the entries of an archive are in and that no entry of it describes: the handlers of a `TarReader`. Names
 * are taken as by one who makes a directory of every component but the last, `..` going back up to the root at most.
 *
 * @throws resource_exhausted - a budget is exceeded: by default a million directories, or 256 MiB of their paths
 */
export class ImpliedDirectories implements TarHandlers {
  readonly #root: Directory = { isDescribed: true, children: undefined };
  readonly #budgets: DirectoryBudgets;
  #count = 0;
  /** Where the entry before was: most share their directory with it. */
  #latest: string | undefined;

  constructor(budgets: Partial<DirectoryBudgets> = {}) {
    this.#budgets = { ...DEFAULT_DIRECTORY_BUDGETS, ...budgets };
  }

  entry(header: TarHeader): void {
    const name = byteString(header);
    const isDirectory = header.type === "directory";
    const place = isDirectory ? undefined : name.slice(0, name.lastIndexOf("/") + 1);
    if (place !== undefined && place === this.#latest) return;
    this.#latest = place;
    const components = name.split("/").filter((component) => component !== "" && component !== ".");
    if (!isDirectory) components.pop();
    const directory = this.#make(components);
    if (isDirectory) directory.isDescribed = true;
  }

  data(): void {}

  endEntry(): void {}

  /** The directories found, each before what is in it, by clean paths; the root, of which there is always one, is not among them. */
  *paths(): Generator<Uint8Array, void, undefined> {
    let bytes = 0;
    const open = [{ path: "", children: childrenOf(this.#root) }];
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const { done, value } = top.children.next();
      if (done === true) {
        open.pop();
        continue;
      }
      const [name, directory] = value;
      const path = top.path === "" ? name : `${top.path}/${name}`;
      open.push({ path, children: childrenOf(directory) });
      if (directory.isDescribed) continue;
      bytes += path.length;
      if (bytes > this.#budgets.maxPathBytes) throw exceeded("path bytes of directories", this.#budgets.maxPathBytes);
      yield Buffer.from(path, "latin1");
    }
  }

  #make(components: readonly string[]): Directory {
    const above: Directory[] = [];
    let directory = this.#root;
    for (const component of components) {
      if (component === "..") directory = above.pop() ?? this.#root;
      else {
        above.push(directory);
        directory = this.#child(directory, component);
      }
    }
    return directory;
  }

  #child(parent: Directory, name: string): Directory {
    const known = parent.children?.get(name);
    if (known !== undefined) return known;
    if (++this.#count > this.#budgets.maxDirectories) throw exceeded("directories", this.#budgets.maxDirectories);
    const made: Directory = { isDescribed: false, children: undefined };
    parent.children ??= new Map();
    // A copy: a piece of a string keeps the whole of it in memory.
    parent.children.set(Buffer.from(name, "latin1").toString("latin1"), made);
    return made;
  }
}

function* childrenOf({ children }: Directory): Generator<readonly [string, Directory], void, undefined> {
  if (children !== undefined) yield* children;
}

/** The bytes of the name, one character for each. */
function byteString({ path, rawPath }: TarHeader): string {
  if (rawPath !== undefined) return Buffer.from(rawPath).toString("latin1");
  return /^[\0-\x7f]*$/.test(path) ? path : Buffer.from(path).toString("latin1");
}

/**
 * This makes headers to be put in front of an archive that does not describe all its directories: of the root, and of those at `paths`.
 * What the archive itself says of one comes later, and counts. They are 0755 of root, of the year 1970, unless `attributesOf` says more.
 */
export function* directoryHeaders(
  paths: Iterable<Uint8Array>,
  attributesOf: (path: Uint8Array) => DirectoryAttributes = () => ({}),
): Generator<Uint8Array, void, undefined> {
  yield formatTarHeader({ path: "./", type: "directory" });
  for (const path of paths) {
    yield formatTarHeader({ ...attributesOf(path), path: Buffer.concat([path, SLASH]), type: "directory" });
  }
}

const SLASH = Buffer.from("/");
