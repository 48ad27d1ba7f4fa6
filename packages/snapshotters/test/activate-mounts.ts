import { mkdir, mkdtemp, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Mount } from "@berth/core/mount";
import { mountAll, mountByContext, unmountAll } from "@berth/linux/mount";
import { runProgram } from "@berth/testing";

/**
 * This makes mounts as the mount manager does, as far as the EROFS snapshotter needs it, all but the last below a directory; the
 * last at `target`. The manager itself is held against the snapshotter in the tests of the daemon.
 */
export async function activateMounts(
  mounts: readonly Mount[],
  target: string,
  directory: string,
): Promise<AsyncDisposable> {
  await using made = new AsyncDisposableStack();
  const places: string[] = [];
  for (const [index, { type, source, options }] of mounts.entries()) {
    const place = index === mounts.length - 1 ? target : await mkdtemp(join(directory, "active-"));
    const expand = (text: string): string => (type.startsWith("format/") ? expandTemplates(text, places) : text);
    const plain = { type: type.split("/").at(-1) ?? "", source: expand(source), target: "" };
    const expanded = options.map(expand);
    const kept = expanded.filter((option) => !option.startsWith("X-containerd."));
    const value = (name: string) =>
      expanded.flatMap((option) => option.match(`^X-containerd\\.${name}=(.*)$`)?.[1] ?? []);
    if (type.startsWith("mkfs/")) await makeFileSystem(source, value("mkfs.size")[0] ?? "", value("mkfs.fs")[0] ?? "");
    for (const made of value("mkdir.path")) await mkdir(made.split(":")[0] ?? "", { mode: 0o755, recursive: true });
    if (plain.type === "erofs") await mountByContext({ ...plain, options: kept }, place);
    else await mountAll([{ ...plain, options: kept }], place);
    made.defer(() => unmountAll(place));
    places.push(place);
  }
  return made.move();
}

function expandTemplates(text: string, places: readonly string[]): string {
  return text
    .replaceAll(/\{\{ mount (\d+) \}\}/g, (_, index: string) => places[Number(index)] ?? "")
    .replaceAll(/\{\{ overlay (\d+) (\d+) \}\}/g, (_, first: string, last: string) =>
      places.slice(Number(first), Number(last) + 1).join(":"),
    );
}

async function makeFileSystem(path: string, size: string, type: string): Promise<void> {
  if (await stat(path).catch(() => undefined)) return;
  await writeFile(path, "", { mode: 0o640 });
  await truncate(path, Number(size));
  const { code, stderr } = await runProgram(`mkfs.${type}`, ["-q", path]);
  if (code !== 0) throw new Error(stderr);
}
