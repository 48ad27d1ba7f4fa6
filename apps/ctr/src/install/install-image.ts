import { chmod, link, lstat, mkdir, mkdtemp, open, readdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";

import type { TarEntry } from "@berth/archive";
import { decompress, readTar } from "@berth/archive";
import type { ContentStore } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import { syncDirectory } from "@berth/core/durable-files";
import { alreadyExists, invalidArgument, notFound, systemErrorCode, wrapError } from "@berth/errors";
import { resolveManifest } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { hostPlatform, only } from "@berth/oci";

/** What of an image is installed, and where. */
export interface InstallOptions {
  readonly directory: string;
  /** Directories of the image, whose files, but no directories in them, are taken. */
  readonly parts: readonly string[];
  readonly replace: boolean;
  readonly signal: AbortSignal;
}

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** Types of entries that become files. */
const INSTALLED: ReadonlySet<string> = new Set(["file", "symlink", "link"]);

/**
 * This writes files of an image to a directory and returns their paths. They are gathered beside their place first, so that one that fails installs nothing; then each takes its place in one step.
 * They belong to whoever installs them and get no special rights.
 *
 * @throws already_exists - a file is there, and is not to be replaced; not_found - there is nothing to install
 */
export async function installImage(
  content: ContentStore,
  target: Descriptor,
  options: InstallOptions,
): Promise<readonly string[]> {
  const { directory, parts, signal } = options;
  const { manifest } = await resolveManifest(content, target, only(hostPlatform()), { signal });
  try {
    await mkdir(directory, { recursive: true });
    await using undo = new AsyncDisposableStack();
    const staging = await mkdtemp(join(directory, ".install-"));
    undo.defer(() => rm(staging, { recursive: true, force: true }));
    const merged = join(staging, "merged");
    await makeParts(merged, parts);
    for (const { digest } of manifest.layers) {
      signal.throwIfAborted();
      const own = join(staging, "layer");
      await makeParts(own, parts);
      const gone = new Set<string>();
      const layer: StagedLayer = { own, below: merged, parts, gone };
      for await (const entry of readTar(decompress(streamBlob(content, digest, { signal })))) await stage(entry, layer);
      await merge(layer);
    }
    return await publish(merged, options);
  } catch (error) {
    throw wrapError(error, `install into ${directory}`);
  }
}

/** One layer by itself: what it takes away concerns what is below it alone, wherever that stands in the archive. */
interface StagedLayer {
  readonly own: string;
  /** What the layers before it have left. */
  readonly below: string;
  readonly parts: readonly string[];
  /** What it takes away: parts, and files in them. */
  readonly gone: Set<string>;
}

async function makeParts(directory: string, parts: readonly string[]): Promise<void> {
  for (const part of parts) await mkdir(join(directory, part), { recursive: true });
}

/** A path of two parts below one of `parts`: nothing in an archive leads anywhere else. */
function placeOf(path: string, parts: readonly string[]): string | undefined {
  const [, part = "", name = ""] = /^(?:\.?\/)*([^/]+)\/([^/]+)\/?$/.exec(path) ?? [];
  return parts.includes(part) && name !== "." && name !== ".." ? join(part, name) : undefined;
}

/** This returns what a whiteout takes away, or `undefined` for an entry that is none. */
function takenAway(path: string, parts: readonly string[]): readonly string[] | undefined {
  const [, part, name = ""] = /^(?:\.?\/)*(?:([^/]+)\/)?([^/]+)\/?$/.exec(path) ?? [];
  if (!name.startsWith(WHITEOUT)) return undefined;
  if (name === OPAQUE) return parts.filter((each) => part === undefined || each === part);
  const hidden = name.slice(WHITEOUT.length);
  if (part === undefined) return parts.filter((each) => each === hidden);
  const place = placeOf(`${part}/${hidden}`, parts);
  return place === undefined ? [] : [place];
}

/**
 * This returns what an entry takes the place of without being a file that is installed: something other than a directory where a part was, and what is, or is in, a directory
 * where a file was.
 */
function displaced(path: string, type: string, parts: readonly string[]): string | undefined {
  const [part = "", name, ...below] = path.split("/").filter((each) => each !== "" && each !== ".");
  if (!parts.includes(part)) return undefined;
  if (name === undefined) return type === "directory" ? undefined : part;
  if (below.length === 0 && INSTALLED.has(type)) return undefined;
  return placeOf(`${part}/${name}`, parts);
}

async function stage(entry: TarEntry, { own, below, parts, gone }: StagedLayer): Promise<void> {
  const { path, type, linkPath, mode } = entry.header;
  const hidden = takenAway(path, parts);
  if (hidden !== undefined) {
    for (const each of hidden) gone.add(each);
    return;
  }
  const other = displaced(path, type, parts);
  if (other !== undefined) {
    gone.add(other);
    await rm(join(own, other), { recursive: true, force: true });
    await makeParts(own, parts);
    return;
  }
  const place = placeOf(path, parts);
  if (place === undefined) return;
  const file = join(own, place);
  if (type === "file") {
    await rm(file, { force: true });
    await writeEntry(file, entry, mode & 0o777);
  } else if (type === "symlink") {
    await rm(file, { force: true });
    await symlink(linkPath, file);
  } else if (type === "link") {
    const original = placeOf(linkPath, parts);
    if (original === undefined) throw invalidArgument(`${path} is a link to ${linkPath}, which is not installed`);
    await rm(file, { force: true });
    const root = (await isThere(join(own, original))) ? own : below;
    await link(join(root, original), file);
  }
}

/** What the layer takes away goes first, then its own files take their places. */
async function merge({ own, below, parts, gone }: StagedLayer): Promise<void> {
  for (const path of gone) await rm(join(below, path), { recursive: true, force: true });
  await makeParts(below, parts);
  for (const part of parts)
    for (const name of await readdir(join(own, part))) await rename(join(own, part, name), join(below, part, name));
  await rm(own, { recursive: true });
}

async function writeEntry(path: string, { content }: TarEntry, mode: number): Promise<void> {
  // Never through something that is there already.
  await using file = await open(path, "wx", 0o600);
  for await (const chunk of content) await file.writeFile(chunk);
  await file.sync();
  await chmod(path, mode);
}

async function publish(merged: string, { directory, parts, replace }: InstallOptions): Promise<readonly string[]> {
  const found: string[] = [];
  for (const part of parts) for (const name of await readdir(join(merged, part))) found.push(join(part, name));
  if (found.length === 0) throw notFound(`the image has nothing in ${parts.join(" and ")}`);
  if (!replace) {
    for (const path of found)
      if (await isThere(join(directory, path))) throw alreadyExists(`${path} is there (--replace replaces it)`);
  }
  await makeParts(directory, parts);
  for (const path of found) await rename(join(merged, path), join(directory, path));
  for (const part of parts) await syncDirectory(join(directory, part));
  return found.map((path) => join(directory, path));
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}
