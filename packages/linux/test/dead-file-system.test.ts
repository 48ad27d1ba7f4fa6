import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect, it } from "vitest";

import { shutdownFileSystem } from "../src/files.ts";
import { mountAll, readMountInfo, unmountRecursive } from "../src/mount.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName } from "./thrown.ts";

/** The cache of the checkout; this package is below the one that knows where Debian's programs are. */
const DEBIAN = process.env["BERTH_DEBIAN_ROOT"] ?? join(import.meta.dirname, "../../../.cache/debian/root");
const LIBRARIES = ["lib", "usr/lib"].map((place) => join(DEBIAN, place, "x86_64-linux-gnu")).join(":");

it.each([".", "below", "below/deeper"])(
  "what is mounted at and below %s of a failed xfs is unmounted",
  async (from) => {
    await using directory = temporaryDirectory();
    const image = join(directory.path, "image");
    writeFileSync(image, "");
    truncateSync(image, 320 << 20);
    execFileSync(join(DEBIAN, "sbin/mkfs.xfs"), ["-q", image], {
      env: { ...process.env, LD_LIBRARY_PATH: LIBRARIES },
    });
    const path = join(directory.path, "mounted");
    mkdirSync(path);
    const mounted = (): string[] =>
      readMountInfo()
        .map(({ mountPoint }) => mountPoint)
        .filter((point) => point.startsWith(directory.path));
    await mountAll([{ type: "xfs", source: image, options: ["loop"] }], path);
    try {
      const inner = join(path, "below", "deeper");
      mkdirSync(inner, { recursive: true });
      await mountAll([{ type: "tmpfs", source: "tmpfs", options: [] }], inner);
      const descriptor = openSync(path, "r");
      shutdownFileSystem(descriptor, "nothing");
      closeSync(descriptor);
      expect(errnoName(() => openSync(join(path, "below"), "r"))).toBe("EIO");
      await unmountRecursive(join(path, from));
      expect(mounted()).toEqual(from === "." ? [] : [path]);
    } finally {
      await unmountRecursive(path);
    }
    expect(mounted()).toEqual([]);
  },
);
