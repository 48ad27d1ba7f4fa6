// Programs of a newer Debian than the host's, unpacked into a cache of the checkout with all that they need, libc too.
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

import { cache } from "./paths.mjs";
import { attempt, run } from "./run.mjs";

/** Where containerd 2 comes from, a CRIU that knows kernels of today, and an mkfs.erofs that takes tar: Debian 14. */
const SUITE = "forky";
const PACKAGES = ["containerd", "runc", "criu", "erofs-utils", "patchelf"];

/** What is linked against a libc that the host may not have, and is made to load the suite's: runc starts itself again, so that no script will do. */
const PROGRAMS = ["usr/sbin/runc", "usr/sbin/criu", "usr/bin/mkfs.erofs", "usr/bin/fsck.erofs", "usr/bin/dump.erofs"];

const [architecture, triplet, loader] =
  process.arch === "arm64"
    ? ["arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"]
    : ["amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"];

const directory = join(cache, "debian", SUITE);

/** Where the packages are unpacked. containerd, its `ctr` and its shim in `usr/bin` run as they are. */
const newerRoot = join(directory, "root");

/** Programs that start with the libraries of the suite: runc, criu, mkfs.erofs, fsck.erofs, dump.erofs. */
const newerPrograms = join(directory, "bin");

/** Unpacks the newer programs, once. */
export async function ensureNewerPackages() {
  const mark = join(directory, "unpacked");
  const contents = [...PACKAGES, ...PROGRAMS].join("\n");
  if (existsSync(mark) && (await readFile(mark, "utf8")) === contents) return;
  await rm(directory, { recursive: true, force: true });
  const apt = await aptOfSuite();
  await run("apt-get", [...apt, "update"]);
  await run("apt-get", [...apt, "install", "--download-only", "--no-install-recommends", "-y", ...PACKAGES]);
  const archives = join(directory, "cache", "archives");
  await mkdir(newerRoot, { recursive: true });
  for (const file of await readdir(archives)) {
    if (file.endsWith(".deb")) await run("dpkg-deb", ["-x", join(archives, file), newerRoot]);
  }
  await rm(join(directory, "cache"), { recursive: true, force: true });
  await rm(join(directory, "lists"), { recursive: true, force: true });
  await mkdir(newerPrograms, { recursive: true });
  for (const program of PROGRAMS) await bindToSuite(program);
  await writeFile(`${mark}.part`, contents);
  await rename(`${mark}.part`, mark);
}

/** apt with lists, cache and packages of its own: the host's stay as they are, and none of them counts as installed. */
async function aptOfSuite() {
  await mkdir(join(directory, "lists", "partial"), { recursive: true });
  await mkdir(join(directory, "cache", "archives", "partial"), { recursive: true });
  const sources = join(directory, "sources.list");
  const keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const trust = existsSync(keys) ? ` signed-by=${keys}` : "";
  await writeFile(sources, `deb [arch=${architecture}${trust}] ${await debianMirror()} ${SUITE} main\n`);
  const status = join(directory, "status");
  await writeFile(status, "");
  const options = {
    "APT::Sandbox::User": "root",
    "APT::Architecture": architecture,
    "Acquire::Languages": "none",
    "Debug::NoLocking": "1",
    "Dir::Etc::sourcelist": sources,
    "Dir::Etc::sourceparts": "-",
    "Dir::Etc::preferencesparts": "-",
    "Dir::State": directory,
    "Dir::State::status": status,
    "Dir::State::lists": join(directory, "lists"),
    "Dir::Cache": join(directory, "cache"),
  };
  return Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
}

/** The mirror that the host takes Debian's packages from. */
async function debianMirror() {
  const { output } = await attempt("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
  const known = output.split("\n").find((uri) => /\/debian\/?$/.test(uri));
  return known ?? "http://deb.debian.org/debian/";
}

/** Makes a copy of a program that loads the suite's libraries. */
async function bindToSuite(program) {
  const libraries = join(newerRoot, "usr/lib", triplet);
  const interpreter = join(libraries, loader);
  const patchelf = [interpreter, "--library-path", libraries, join(newerRoot, "usr/bin/patchelf")];
  const file = join(newerPrograms, basename(program));
  await copyFile(join(newerRoot, program), `${file}.part`);
  // Not the newer kind of path, which does not hold for the libraries of libraries.
  const paths = ["--force-rpath", "--set-rpath", libraries, "--set-interpreter", interpreter];
  await run(patchelf[0], [...patchelf.slice(1), ...paths, `${file}.part`]);
  await rename(`${file}.part`, file);
}
