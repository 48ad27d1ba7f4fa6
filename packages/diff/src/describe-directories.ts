import { fstatSync } from "node:fs";

import { type DirectoryAttributes, directoryHeaders } from "@berth/archive";
import { systemErrorCode } from "@berth/errors";
import { closeFd } from "@berth/linux/files";

import { copiedXattrs } from "./copy-up.ts";
import type { DescribedDirectories } from "./layer-job.ts";
import { LowerLayers } from "./lower-layers.ts";
import { fromBytes, toNative } from "./native-name.ts";

const SECOND = 1_000_000_000n;

/** This makes headers of directories that say what the layers below say of them, else 0755 of root; one of the root comes first. */
export function* describeDirectories({ paths, lowers }: DescribedDirectories): Generator<Uint8Array, void, undefined> {
  using below = new LowerLayers(lowers);
  function* names(): Generator<Uint8Array, void, undefined> {
    for (const path of paths) yield Buffer.from(toNative(path));
  }
  yield* directoryHeaders(names(), (path) => attributesIn(below, fromBytes(path)));
}

function attributesIn(below: LowerLayers, path: string): DirectoryAttributes {
  const fd = openIn(below, path);
  if (fd === undefined) return {};
  try {
    const { mode, uid, gid, mtimeNs } = fstatSync(fd, { bigint: true });
    const mtime = { seconds: Number(mtimeNs / SECOND), nanoseconds: Number(mtimeNs % SECOND) };
    const owner = { uid: Number(uid), gid: Number(gid) };
    return { ...owner, mode: Number(mode) & 0o7777, ...(mtimeNs < 0n ? {} : { mtime }), xattrs: copiedXattrs(fd) };
  } finally {
    closeFd(fd);
  }
}

/** A name that leads nowhere below, because of links in a circle or its length, is no reason to refuse the layer. */
function openIn(below: LowerLayers, path: string): number | undefined {
  try {
    return below.open(path);
  } catch (error) {
    if (["ELOOP", "ENAMETOOLONG"].includes(systemErrorCode(error) ?? "")) return undefined;
    throw error;
  }
}
