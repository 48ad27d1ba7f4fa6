import { existsSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { buildImage, runProgram, temporaryDirectory } from "@berth/testing";

import { directoryEntries } from "./directory-entries.ts";
import { mustRun } from "./must-run.ts";

const CACHE = join(import.meta.dirname, "..", "..", ".cache");
const DEBIAN_ROOT = process.env["BERTH_DEBIAN_ROOT"] ?? join(CACHE, "debian", "root");
const RELEASE = "bookworm";
const DEFAULT_MIRROR = "http://deb.debian.org/debian/";

/** What the image is called. */
export const MINBASE_IMAGE = "example.org/berth/debian:bookworm";

/** This returns the path of an OCI archive of a Debian minbase in one gzip layer. It is made once, by debootstrap, and kept in the checkout's cache. */
export async function minbaseImage(progress: (text: string) => void): Promise<string> {
  const directory = join(CACHE, "bench");
  const archive = join(directory, `debian-${RELEASE}-minbase.tar`);
  if (existsSync(archive)) return archive;
  await mkdir(directory, { recursive: true });
  await using temporary = await temporaryDirectory("minbase");
  const tree = join(temporary.path, "root");
  progress(`making a Debian ${RELEASE} minbase with debootstrap, once`);
  await debootstrap(tree, await mirrorOfMachine());
  // Downloaded packages are in no image.
  await mustRun("chroot", [tree, "apt-get", "clean"]);
  const image = await buildImage({
    name: MINBASE_IMAGE,
    layers: [await directoryEntries(tree)],
    config: { Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: ["bash"] },
  });
  await writeFile(`${archive}.partial`, image.archive);
  await rename(`${archive}.partial`, archive);
  return archive;
}

async function debootstrap(tree: string, mirror: string): Promise<void> {
  const share = join(DEBIAN_ROOT, "usr", "share");
  const keyring = join(share, "keyrings", "debian-archive-keyring.gpg");
  await mustRun(
    "sh",
    [join(DEBIAN_ROOT, "usr/sbin/debootstrap"), "--variant=minbase", `--keyring=${keyring}`, RELEASE, tree, mirror],
    { env: { DEBOOTSTRAP_DIR: join(share, "debootstrap") }, timeoutMs: 900_000 },
  );
}

/** The mirror that this machine's apt uses for Debian, as a machine may reach no other. */
async function mirrorOfMachine(): Promise<string> {
  const { stdout } = await runProgram("apt-get", [
    "indextargets",
    "--format",
    "$(ORIGIN) $(CODENAME) $(REPO_URI)",
    "Created-By: Packages",
  ]);
  const mirrors = stdout.split("\n").map((line) => line.split(" "));
  return mirrors.find(([origin, codename]) => origin === "Debian" && codename === RELEASE)?.[2] ?? DEFAULT_MIRROR;
}
