import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { failedPrecondition, invalidArgument, isNotFound, messageOf, systemErrorCode, wrapError } from "@berth/errors";

const RULES = "/etc/apparmor.d";
const LOADED = "/sys/kernel/security/apparmor/profiles";
const PARSER_MS = 60_000;

/** What of AppArmor's own rules a machine has, and who signals its containers. */
export interface ApparmorParts {
  /** Its rules have version 3.0 of the features. */
  readonly abi: boolean;
  /** They have `tunables/global`. */
  readonly tunables: boolean;
  /** They have `abstractions/base`. */
  readonly base: boolean;
  /** Profile of the program that manages containers; many are named by its path. */
  readonly manager: string;
}

/**
 * This writes the default profile of containers: all that a container needs, but no mounts, no changes of the kernel's settings other than of shared memory, no look at what the
 * kernel keeps to itself, and no tracing or signals outside of the profile.
 *
 * @throws invalid_argument - a name that would not be one
 * @see containerd contrib/apparmor/template.go
 */
export function apparmorProfile(name: string, { abi, tunables, base, manager }: ApparmorParts): string {
  requireName(name);
  const signals = [...new Set(["unconfined", "runc", "crun", manager])].map(
    (peer) => `  signal (receive) peer=${isName(peer) ? peer : quoted(peer)},`,
  );
  return [
    ...(abi ? ["abi <abi/3.0>,"] : []),
    tunables ? "#include <tunables/global>" : "@{PROC}=/proc/",
    "",
    `profile ${name} flags=(attach_disconnected,mediate_deleted) {`,
    ...(base ? ["  #include <abstractions/base>"] : []),
    "  capability,",
    "  file,",
    "  network,",
    "  umount,",
    ...signals,
    `  signal (send, receive) peer=${name},`,
    `  ptrace (trace, tracedby, read, readby) peer=${name},`,
    "",
    "  deny mount,",
    "",
    "  # Below /proc: processes, and of the settings those of shared memory.",
    "  deny @{PROC}/[^0-9s]** w,",
    "  deny @{PROC}/s[^ey]** w,",
    "  deny @{PROC}/sys[^/]** w,",
    "  deny @{PROC}/sys/[^k]** w,",
    "  deny @{PROC}/sys/k[^e]** w,",
    "  deny @{PROC}/sys/kernel/[^s]** w,",
    "  deny @{PROC}/sys/kernel/s[^h]** w,",
    "  deny @{PROC}/sys/kernel/sh[^m]** w,",
    "  deny @{PROC}/sysrq-trigger rwklx,",
    "  deny @{PROC}/kcore rwklx,",
    "",
    "  # Below /sys: control groups.",
    "  deny /sys/[^f]** wklx,",
    "  deny /sys/f[^s]** wklx,",
    "  deny /sys/fs/[^c]** wklx,",
    "  deny /sys/fs/c[^g]** wklx,",
    "  deny /sys/fs/cg[^r]** wklx,",
    "  deny /sys/firmware/** rwklx,",
    "  deny /sys/devices/virtual/powercap/** rwklx,",
    "  deny /sys/kernel/security/** rwklx,",
    "}",
    "",
  ].join("\n");
}

/**
 * This loads the default profile under a name, unless a profile of that name is loaded.
 *
 * @throws failed_precondition - the kernel has no AppArmor, or there is no apparmor_parser; invalid_argument - a bad name
 */
export async function loadApparmorProfile(name: string): Promise<void> {
  requireName(name);
  if ((await loadedProfiles()).has(name)) return;
  const directory = await mkdtemp(join(tmpdir(), "berth-apparmor-"));
  try {
    const file = join(directory, "profile");
    await writeFile(file, apparmorProfile(name, await readParts()));
    // Loaded late: most callers never run a program.
    const { execFile } = await import("node:child_process");
    await promisify(execFile)("apparmor_parser", ["-Kr", file], { timeout: PARSER_MS });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT")
      throw failedPrecondition("there is no apparmor_parser to load a profile with", { cause: error });
    throw wrapError(error, `load AppArmor profile ${name}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function loadedProfiles(): Promise<ReadonlySet<string>> {
  try {
    const lines = (await readFile(LOADED, "utf8")).split("\n");
    return new Set(lines.map(withoutMode));
  } catch (error) {
    if (isNotFound(error))
      throw failedPrecondition("the kernel has no AppArmor, or it is switched off", { cause: error });
    throw failedPrecondition(`AppArmor cannot be asked for its profiles: ${messageOf(error)}`, { cause: error });
  }
}

async function readParts(): Promise<ApparmorParts> {
  const [abi, tunables, base, current] = await Promise.all([
    isThere("abi/3.0"),
    isThere("tunables/global"),
    isThere("abstractions/base"),
    readFile("/proc/self/attr/current", "utf8").catch(() => ""),
  ]);
  return { abi, tunables, base, manager: profileOf(current) };
}

/** This returns the profile in what the kernel says of a process, `name (enforce)`; what no rule can name counts as none. */
export function profileOf(current: string): string {
  const name = withoutMode(current.replace(/[\0\n]+$/, ""));
  return /^[^\p{Cc}]+$/u.test(name) ? name : "unconfined";
}

function withoutMode(line: string): string {
  return line.replace(/ \([a-z]+\)$/, "");
}

/** As the language of profiles writes a name in which nothing has a meaning. */
function quoted(name: string): string {
  return `"${name.replaceAll(/["\\*?[\]{}^]/g, "\\$&")}"`;
}

async function isThere(rules: string): Promise<boolean> {
  return await access(join(RULES, rules)).then(
    () => true,
    () => false,
  );
}

function requireName(name: string): void {
  if (!isName(name)) throw invalidArgument(`invalid name ${JSON.stringify(name)} of an AppArmor profile`);
}

/** Nothing that the language of profiles gives a meaning. */
function isName(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]{0,127}$/.test(text);
}
