// Debian packages unpacked into a cache of the checkout: nothing of the host is installed, replaced or started.
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { ensureNewerPackages } from "./debian-suite.mjs";
import { cache } from "./paths.mjs";
import { attempt, run } from "./run.mjs";

/** What the tests hold berth against. */
export const PEER_PACKAGES = [
  "apparmor",
  "runc",
  "crun",
  "libyajl2",
  "busybox-static",
  "containerd",
  "docker-registry",
  "erofs-utils",
  "containernetworking-plugins",
  "iptables",
  "libip4tc2",
  "libip6tc2",
  "libmnl0",
  "libnetfilter-conntrack3",
  "libnfnetlink0",
  "libnftnl11",
  "libxtables12",
  "btrfs-progs",
  "liblzo2-2",
  "xfsprogs",
  "libdevmapper1.02.1",
  "libedit2",
  "libicu72",
  "libinih1",
  "liburcu8",
  "strace",
  "libunwind8",
  "skopeo",
  "umoci",
  "libgpgme11",
  "libassuan0",
  "libgpg-error0",
  "zsh",
  "zsh-common",
  "fish",
  "fish-common",
  "libpcre2-32-0",
];

/** What gunzips faster than zlib. Not in the root of the others, which is on PATH: every daemon there would use it. */
const GUNZIP_PACKAGES = ["isal", "libisal2", "pigz"];

const directory = join(cache, "debian");

/** Where the packages are unpacked. */
export const debianRoot = join(directory, "root");

/** Directories of the unpacked programs, for PATH. */
export const debianPath = ["usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"].map((part) => join(debianRoot, part));

/** Unpacks all that the tests need. */
export async function ensureTestPackages() {
  await ensureDebianPackages(PEER_PACKAGES);
  await ensureDebianPackages(GUNZIP_PACKAGES, join(directory, "gunzip"));
  await ensureNewerPackages();
}

/** Unpacks the packages that are not unpacked yet. */
export async function ensureDebianPackages(packages, root = debianRoot) {
  const marks = join(directory, "unpacked");
  await mkdir(marks, { recursive: true });
  await mkdir(root, { recursive: true });
  const missing = packages.filter((name) => !existsSync(join(marks, name)));
  if (missing.length === 0) return;
  if (!existsSync("/usr/bin/apt-get") || !existsSync("/usr/bin/dpkg-deb")) {
    throw new Error(
      `${missing.join(", ")} missing, and this machine has no apt-get to fetch them: install them, or use Debian or Ubuntu`,
    );
  }
  const downloads = join(directory, `download-${process.pid}`);
  await mkdir(downloads, { recursive: true });
  try {
    await download(missing, downloads);
    for (const file of await readdir(downloads)) {
      if (file.endsWith(".deb")) await run("dpkg-deb", ["-x", join(downloads, file), root]);
    }
    for (const name of missing) {
      await writeFile(join(marks, `.${name}`), "");
      await rename(join(marks, `.${name}`), join(marks, name));
    }
  } finally {
    await rm(downloads, { recursive: true, force: true });
  }
}

async function download(packages, cwd) {
  // Sandboxed downloads need a directory that the user _apt can write to; this one belongs to root.
  const options = ["-o", "APT::Sandbox::User=root"];
  const { code } = await attempt("apt-get", [...options, "download", ...packages], { cwd });
  if (code === 0) return;
  const lists = join(directory, "lists");
  await mkdir(join(lists, "partial"), { recursive: true });
  const own = [...options, "-o", `Dir::State::lists=${lists}`, "-o", `Dir::Cache=${join(directory, "apt-cache")}`];
  await mkdir(join(directory, "apt-cache", "archives", "partial"), { recursive: true });
  await run("apt-get", [...own, "update"]);
  await run("apt-get", [...own, "download", ...packages], { cwd });
}
