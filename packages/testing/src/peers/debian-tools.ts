import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { failedPrecondition } from "@berth/errors";

const CHECKOUT = join(import.meta.dirname, "..", "..", "..", "..");

/** Where Debian's packages are unpacked: `BERTH_DEBIAN_ROOT`, else the cache of the checkout. */
const DEBIAN_ROOT = process.env["BERTH_DEBIAN_ROOT"] ?? join(CHECKOUT, ".cache", "debian", "root");

const PLACES = {
  busybox: "bin/busybox",
  containerd: "usr/bin/containerd",
  crun: "usr/bin/crun",
  "containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
  ctr: "usr/bin/ctr",
  "docker-registry": "usr/bin/docker-registry",
  fish: "usr/bin/fish",
  "mkfs.btrfs": "sbin/mkfs.btrfs",
  "mkfs.erofs": "usr/bin/mkfs.erofs",
  "mkfs.xfs": "sbin/mkfs.xfs",
  runc: "usr/sbin/runc",
  skopeo: "usr/bin/skopeo",
  strace: "usr/bin/strace",
  umoci: "usr/bin/umoci",
  "xtables-legacy-multi": "usr/sbin/xtables-legacy-multi",
  zsh: "bin/zsh",
} as const;

/** Name of the directories of libraries. */
export const MULTIARCH = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";

/** Programs of Debian that tests hold berth against. */
export type DebianTool = keyof typeof PLACES;

/**
 * This returns the path of one of Debian's programs.
 *
 * @throws failed_precondition - it is not unpacked; the message says how to get it
 */
export function debianTool(name: DebianTool): string {
  return unpacked(join(DEBIAN_ROOT, PLACES[name]));
}

/** This returns the path of another of Debian's files, by its place below `/`. @throws failed_precondition - it is not unpacked */
export function debianFile(place: string): string {
  return unpacked(join(DEBIAN_ROOT, place));
}

const NEWER_ROOT = join(DEBIAN_ROOT, "..", "forky");

const NEWER_PLACES = {
  containerd: "root/usr/bin/containerd",
  "containerd-shim-runc-v2": "root/usr/bin/containerd-shim-runc-v2",
  criu: "bin/criu",
  ctr: "root/usr/bin/ctr",
  "fsck.erofs": "bin/fsck.erofs",
  "mkfs.erofs": "bin/mkfs.erofs",
  runc: "bin/runc",
} as const;

/** Programs of a newer Debian: containerd 2 with `ctr` and shim, runc 1.3 or later, CRIU, and an mkfs.erofs that takes tar. */
export type NewerTool = keyof typeof NEWER_PLACES;

/**
 * This returns the path of a program of the newer Debian (14).
 *
 * @throws failed_precondition - it is not unpacked; the message says how to get it
 */
export function newerTool(name: NewerTool): string {
  return unpacked(join(NEWER_ROOT, NEWER_PLACES[name]));
}

function unpacked(path: string): string {
  if (existsSync(path)) return path;
  throw failedPrecondition(`${path} is missing: run "node tooling/prerequisites.mjs", or the tests with "npm test"`);
}

/** This returns PATH with Debian's programs first. */
export function debianPath(): string {
  const places = ["usr/sbin", "usr/bin", "sbin", "bin"].map((part) => join(DEBIAN_ROOT, part));
  return [...places, process.env["PATH"] ?? ""].join(":");
}

/** This returns PATH with the programs of the newer Debian first, then Debian's. */
export function newerPath(): string {
  // What needs the libraries of its suite has a launcher in `bin`, and stands below `root` too.
  return [join(NEWER_ROOT, "bin"), join(NEWER_ROOT, "root/usr/bin"), debianPath()].join(":");
}

/** This returns LD_LIBRARY_PATH for those of Debian's programs whose libraries are unpacked beside them. */
export function debianLibraries(): string {
  return ["usr/lib", "lib"].map((part) => join(DEBIAN_ROOT, part, MULTIARCH)).join(":");
}

/** This writes a program into a directory that runs Debian's igzip or unpigz, which are unpacked in a place of their own. */
export function gunzipProgram(directory: string, name: "igzip" | "unpigz"): void {
  const root = join(DEBIAN_ROOT, "..", "gunzip");
  const program = join(root, "usr/bin", name);
  if (!existsSync(program)) {
    throw failedPrecondition(
      `${program} is missing: run "node tooling/prerequisites.mjs", or the tests with "npm test"`,
    );
  }
  const libraries = join(root, "usr/lib", MULTIARCH);
  const script = `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${program}' "$@"\n`;
  writeFileSync(join(directory, name), script, { mode: 0o755 });
}

/** This writes a program into a directory that runs Debian's crun with the libraries beside it, and returns its path. */
export function crunProgram(directory: string): string {
  const path = join(directory, "crun");
  const crun = `LD_LIBRARY_PATH='${debianLibraries()}' exec '${debianTool("crun")}' "$@"`;
  // It refuses to work where a unified tree beside those of v1 has controllers: it is not to see that one.
  const hidden = `umount /sys/fs/cgroup/unified 2>/dev/null; ${crun}`;
  const script = `#!/bin/sh\nexec unshare --mount sh -c '${hidden.replaceAll("'", String.raw`'\''`)}' crun "$@"\n`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

/** This returns the path of a launcher of the checkout. */
export function launcher(name: "berthd" | "ctr" | "containerd-shim-berth-v2" | `compat/${string}`): string {
  return join(CHECKOUT, "tooling", "bin", name);
}
