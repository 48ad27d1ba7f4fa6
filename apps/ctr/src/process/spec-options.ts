import { readFile } from "node:fs/promises";
import { hostname } from "node:os";

import { invalidArgument, messageOf, wrapError } from "@berth/errors";
import type { SpecMount, SpecNamespaceType, SpecOption, UserFiles } from "@berth/oci/spec";
import {
  loadApparmorProfile,
  parseCdiName,
  parseMountFlag,
  readBlockIoClass,
  readCurrentCapabilities,
  readDevices,
  readHostDevices,
  withAddedCapabilities,
  withAdditionalGids,
  withAnnotations,
  withApparmorProfile,
  withBlockIo,
  withCdiDevices,
  withCgroup,
  withCwd,
  withDefaultSeccomp,
  withDevices,
  withDroppedCapabilities,
  withEnv,
  withGpus,
  withHostname,
  withHostNetwork,
  withMounts,
  withNamespacePath,
  withNoNewPrivileges,
  withPrivileged,
  withProcessArgs,
  withRdt,
  withReadonlyRootfs,
  withRootfsPropagation,
  withSeccomp,
  withTty,
  withUser,
} from "@berth/oci/spec";

import { parseLabels } from "../cli/arguments.ts";
import { complain } from "../output/complain.ts";
import type { ContainerFlags } from "./container-flags.ts";
import type { LimitFlags } from "./limit-flags.ts";
import { limitOptions } from "./limit-flags.ts";

const NAMESPACE_TYPES: Readonly<Record<string, SpecNamespaceType>> = {
  pid: "pid",
  net: "network",
  network: "network",
  mnt: "mount",
  mount: "mount",
  ipc: "ipc",
  uts: "uts",
  user: "user",
  cgroup: "cgroup",
  time: "time",
};
const PROPAGATION = new Set(["shared", "slave", "private", "rshared", "rslave", "rprivate"]);

/** The flags that a spec is made from. */
export interface SpecFlags extends ContainerFlags, LimitFlags {
  readonly cgroup?: string;
  readonly "privileged-without-host-devices"?: boolean;
}

/**
 * This turns flags into changes of a spec; what needs the user files of the root file system waits for them.
 *
 * @throws invalid_argument - a malformed flag; not_found - a file or a device that a flag names
 */
export async function specOptions(
  flags: SpecFlags,
  args: readonly string[],
): Promise<(files: UserFiles) => readonly SpecOption[]> {
  const variables = [...(await readEnvFile(flags["env-file"])), ...flags.env];
  const before = [...processOptions(flags, args, variables), ...isolationOptions(flags), ...limitOptions(flags)];
  const after = await hostOptions(flags);
  const { user } = flags;
  return (files) => [
    ...before,
    ...(user === "" ? [] : [withUser(user, files), withAdditionalGids(user.split(":")[0] ?? user, files)]),
    ...after,
  ];
}

function processOptions(flags: SpecFlags, args: readonly string[], variables: readonly string[]): SpecOption[] {
  const options: SpecOption[] = [];
  if (args.length > 0) options.push(withProcessArgs(...args));
  if (flags.cwd !== "") options.push(withCwd(flags.cwd));
  if (flags.tty) options.push(withTty);
  options.push(withEnv(variables));
  if (flags.hostname !== "") options.push(withHostname(flags.hostname));
  if (flags["allow-new-privs"]) options.push(withNoNewPrivileges(false));
  if (flags.annotation.length > 0) options.push(withAnnotations(parseAnnotations(flags.annotation)));
  return options;
}

function isolationOptions(flags: SpecFlags): SpecOption[] {
  const { cgroup = "", "rootfs-propagation": propagation } = flags;
  const options: SpecOption[] = [];
  if (flags.mount.length > 0) options.push(withMounts(flags.mount.map(parseMount)));
  if (flags["read-only"]) options.push(withReadonlyRootfs);
  if (flags["net-host"]) options.push(withHostNetwork(hostname()));
  if (cgroup !== "") options.push(withCgroup(cgroup));
  if (propagation !== "") {
    if (!PROPAGATION.has(propagation))
      throw invalidArgument(
        `rootfs-propagation ${JSON.stringify(propagation)}: expected ${[...PROPAGATION].join(", ")}`,
      );
    options.push(withRootfsPropagation(propagation));
  }
  for (const text of flags["with-ns"]) options.push(joinNamespace(text));
  if (flags["cap-add"].length > 0) options.push(withAddedCapabilities(flags["cap-add"].map(checkCapability)));
  if (flags["cap-drop"].length > 0) options.push(withDroppedCapabilities(flags["cap-drop"].map(checkCapability)));
  return options;
}

async function hostOptions(flags: SpecFlags): Promise<SpecOption[]> {
  const options: SpecOption[] = [];
  if (flags["privileged-without-host-devices"] === true && !flags.privileged)
    throw invalidArgument("flag --privileged-without-host-devices needs --privileged");
  if (flags.privileged) {
    const capabilities = await readCurrentCapabilities();
    const alone = flags["privileged-without-host-devices"] === true;
    options.push(withPrivileged(alone ? { capabilities } : { capabilities, devices: await readHostDevices() }));
  }
  const cdi = flags.device.filter((device) => parseCdiName(device) !== undefined);
  for (const path of flags.device) {
    if (!cdi.includes(path)) options.push(withDevices(await readDevices(path)));
  }
  if (cdi.length > 0) options.push(await withCdiDevices(cdi));
  if (flags.gpus.length > 0) options.push(await withGpus(flags.gpus.flatMap((text) => text.split(","))));
  options.push(...(await confinement(flags)));
  return options;
}

async function confinement(flags: SpecFlags): Promise<SpecOption[]> {
  const options: SpecOption[] = [];
  const { "seccomp-profile": profile, "rdt-class": rdt } = flags;
  if (profile !== "") options.push(withSeccomp(await readJsonFile(profile)));
  else if (flags.seccomp) options.push(withDefaultSeccomp());
  options.push(...(await apparmorOptions(flags)), ...(await blockIoOptions(flags)));
  if (rdt !== "") options.push(withRdt({ closID: rdt }));
  return options;
}

/** Unlike a label, one without a value is a mistake. */
function parseAnnotations(texts: readonly string[]): ReadonlyMap<string, string> {
  const bad = texts.find((text) => !text.includes("="));
  if (bad !== undefined) throw invalidArgument(`invalid annotation ${JSON.stringify(bad)}: expected key=value`);
  return parseLabels(texts);
}

async function apparmorOptions(flags: SpecFlags): Promise<SpecOption[]> {
  const { "apparmor-profile": named, "apparmor-default-profile": made } = flags;
  if (named !== "" && made !== "")
    throw invalidArgument("flags --apparmor-profile and --apparmor-default-profile cannot be specified together");
  if (made !== "") await loadApparmorProfile(made);
  const profile = named === "" ? made : named;
  return profile === "" ? [] : [withApparmorProfile(profile)];
}

async function blockIoOptions(flags: SpecFlags): Promise<SpecOption[]> {
  const { "blockio-config-file": file, "blockio-class": name } = flags;
  if (file === "" && name === "") return [];
  if (file === "" || name === "")
    throw invalidArgument("flags --blockio-config-file and --blockio-class must be given together");
  const { blockIo, problems } = await readBlockIoClass(file, name);
  for (const problem of problems) complain(`${file}: ${problem}`);
  return [withBlockIo(blockIo)];
}

function parseMount(text: string): SpecMount {
  const mount = parseMountFlag(text);
  // What runc would take for a mount of a file system with an empty name.
  if ((mount.type ?? "") === "")
    throw invalidArgument(`invalid mount ${JSON.stringify(text)}: type is missing, e.g. type=bind`);
  return mount;
}

function checkCapability(name: string): string {
  if (!name.startsWith("CAP_")) throw invalidArgument(`capability ${JSON.stringify(name)} must begin with CAP_`);
  return name;
}

function joinNamespace(text: string): SpecOption {
  const colon = text.indexOf(":");
  const [name, path] = [text.slice(0, Math.max(0, colon)), text.slice(colon + 1)];
  const type = Object.hasOwn(NAMESPACE_TYPES, name) ? NAMESPACE_TYPES[name] : undefined;
  if (type === undefined || path === "")
    throw invalidArgument(
      `with-ns ${JSON.stringify(text)}: expected TYPE:PATH with one of the types ${Object.keys(NAMESPACE_TYPES).join(", ")}`,
    );
  return withNamespacePath(type, path);
}

async function readEnvFile(path: string): Promise<string[]> {
  if (path === "") return [];
  const lines = (await readTextFile(path)).split(/\r?\n/).filter((line) => line !== "");
  const bad = lines.findIndex((line) => !/^[^=]+=/.test(line));
  if (bad >= 0)
    throw invalidArgument(`${path}: line ${bad + 1}: expected NAME=value, got ${JSON.stringify(lines[bad])}`);
  return lines;
}

/** This reads a JSON object. @throws invalid_argument - it is none; not_found */
export async function readJsonFile(path: string): Promise<Readonly<Record<string, unknown>>> {
  const text = await readTextFile(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`${path}: ${messageOf(error)}`, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`${path}: not a JSON object`);
  // Just checked; the values stay unknown.
  return value as Readonly<Record<string, unknown>>;
}

async function readTextFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw wrapError(error, `read ${path}`);
  }
}
