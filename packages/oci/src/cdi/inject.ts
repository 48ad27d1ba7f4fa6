import { notFound } from "@berth/errors";

import { readDevices } from "../spec-host.ts";
import { withDevices, withRdt } from "../spec-linux.ts";
import {
  applySpecOptions,
  changeLinux,
  changeProcess,
  type RuntimeSpec,
  type SpecDevice,
  type SpecHook,
  type SpecMount,
  type SpecOption,
} from "../spec-model.ts";
import { withEnv } from "../spec-process.ts";
import { formatCdiName } from "./cdi-spec.ts";
import type { CdiDeviceNode, CdiEdits, CdiMount, CdiNetDevice } from "./cdi-spec.ts";
import { CDI_DIRECTORIES, loadCdi } from "./load.ts";

export { parseCdiName } from "./cdi-spec.ts";

/** Where to look for devices. */
export interface CdiOptions {
  /** Default: `/etc/cdi`, and before it in rank `/var/run/cdi`. */
  readonly directories?: readonly string[];
}

/**
 * This makes the option that gives a container devices by their CDI names, each once: environment, device files, mounts,
 * hooks, groups and RDT class, as the vendors' specifications say.
 * @throws not_found - devices that nobody tells of; files that are not understood are named
 * @see Container Device Interface specification 1.1
 */
export async function withCdiDevices(names: readonly string[], options: CdiOptions = {}): Promise<SpecOption> {
  const { devices, problems } = await loadCdi(options.directories ?? CDI_DIRECTORIES);
  const wanted = [...new Set(names)];
  const missing = wanted.filter((name) => !devices.has(name));
  if (missing.length > 0) {
    const reasons = problems.map((problem) => `; ${problem.message}`).join("");
    throw notFound(`unresolvable CDI devices ${missing.join(", ")}${reasons}`);
  }
  const found = wanted.flatMap((name) => devices.get(name) ?? []);
  const edits = [...found.map((device) => device.edits), ...new Set(found.map(({ spec }) => spec.edits))];
  const changes = await Promise.all(edits.map((each) => editSpec(each)));
  return (spec) => applySpecOptions(spec, ...changes);
}

const GPU_VENDORS = ["nvidia.com", "amd.com"];

/**
 * This makes the option that gives a container GPUs, by their numbers or `all`, of the first vendor that tells of any.
 * @throws not_found - no vendor tells of GPUs, or not of these
 */
export async function withGpus(ids: readonly string[], options: CdiOptions = {}): Promise<SpecOption> {
  const { devices } = await loadCdi(options.directories ?? CDI_DIRECTORIES);
  const kinds = new Set([...devices.values()].map(({ spec }) => spec.kind));
  const kind = GPU_VENDORS.map((vendor) => `${vendor}/gpu`).find((each) => kinds.has(each));
  if (kind === undefined) throw notFound(`no CDI specification of a GPU vendor (${GPU_VENDORS.join(", ")})`);
  return await withCdiDevices(
    ids.map((name) => formatCdiName({ kind, name })),
    options,
  );
}

async function editSpec(edits: CdiEdits): Promise<SpecOption> {
  const { env = [], deviceNodes = [], netDevices = [], mounts = [], hooks = [], intelRdt, additionalGids = [] } = edits;
  const nodes = await Promise.all(deviceNodes.map((node) => readNode(node)));
  return (spec) =>
    applySpecOptions(
      spec,
      withEnv(env),
      ...nodes.map(({ device, access }) => withDevices([device], access)),
      (before) => addNetDevices(before, netDevices),
      (before) => addMounts(before, mounts),
      (before) => addHooks(before, hooks),
      ...(intelRdt ? [withRdt(intelRdt)] : []),
      (before) => addGids(before, additionalGids),
    );
}

async function readNode(node: CdiDeviceNode): Promise<{ readonly device: SpecDevice; readonly access: string }> {
  const { path, hostPath = path, permissions = "rwm", type, major, minor, ...owner } = node;
  if (type !== undefined && major !== undefined && minor !== undefined)
    return { device: { path, type, major, minor, ...withoutAbsent(owner) }, access: permissions };
  const [device] = await readDevices(hostPath, path);
  if (!device) throw notFound(`device ${hostPath}`);
  const { fileMode: _mode, ...host } = device;
  const own = withoutAbsent({ type, major, minor, ...owner });
  return { device: { ...host, ...own }, access: permissions };
}

/** What a specification leaves out does not take the place of what the host says. */
function withoutAbsent<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const present = Object.entries(fields).filter(([, value]) => value !== undefined);
  // the type says only that nothing in it is undefined; whether a field is there the caller knows from its default
  return Object.fromEntries(present) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function addNetDevices(spec: RuntimeSpec, added: readonly CdiNetDevice[]): RuntimeSpec {
  if (added.length === 0) return spec;
  const further = Object.fromEntries(added.map(({ hostInterfaceName, name }) => [hostInterfaceName, { name }]));
  return changeLinux(spec, (linux) => ({ ...linux, netDevices: { ...linux.netDevices, ...further } }));
}

/** A mount takes the place of another one of the same path, and what is mounted deeper comes later. */
function addMounts(spec: RuntimeSpec, added: readonly CdiMount[]): RuntimeSpec {
  if (added.length === 0) return spec;
  const mounts = added.map(({ hostPath, containerPath, options = [], type }): SpecMount => {
    return { destination: containerPath, source: hostPath, type: type ?? "bind", options: [...options] };
  });
  const taken = new Set(mounts.map(({ destination }) => destination));
  const kept = (spec.mounts ?? []).filter(({ destination }) => !taken.has(destination));
  return { ...spec, mounts: [...kept, ...mounts].toSorted((left, right) => depth(left) - depth(right)) };
}

function depth({ destination }: SpecMount): number {
  return destination.split("/").filter(Boolean).length;
}

function addHooks(spec: RuntimeSpec, added: NonNullable<CdiEdits["hooks"]>): RuntimeSpec {
  const hooks = new Map<string, readonly SpecHook[]>(Object.entries(spec.hooks ?? {}));
  for (const { hookName, ...hook } of added) hooks.set(hookName, [...(hooks.get(hookName) ?? []), hook]);
  return added.length === 0 ? spec : { ...spec, hooks: Object.fromEntries(hooks) };
}

function addGids(spec: RuntimeSpec, added: readonly number[]): RuntimeSpec {
  if (added.length === 0) return spec;
  return changeProcess(spec, (process) => {
    const { additionalGids = [] } = process.user;
    const further = added.filter((gid) => gid !== 0 && !additionalGids.includes(gid));
    return { ...process, user: { ...process.user, additionalGids: [...additionalGids, ...further] } };
  });
}
