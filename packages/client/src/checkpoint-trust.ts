import { fromBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { AnyValue } from "@berth/core/any";
import { invalidArgument, permissionDenied } from "@berth/errors";
import { parseExactJson } from "@berth/oci";
import type { RuntimeSpec, SpecMount } from "@berth/oci/spec";
import { decodeSpec, generateSpec, withDefaultUnixDevices } from "@berth/oci/spec";

import { abridged, quoted, unknownFields } from "./checkpoint-fields.ts";

/** What a checkpoint would have a daemon run, as root. */
export interface CheckpointOrders {
  readonly runtime: string;
  readonly runtimeOptions?: AnyValue;
  readonly spec: AnyValue;
}

/** So many of its orders are told, and so much of each. */
const TOLD = 10;
const TOLD_LENGTH = 500;

/**
 * This refuses a checkpoint that would give its container more of the machine than one has that is made without flags. What is not known to be harmless is refused: a runtime by its
 * path, options for it, mounts, devices, namespaces and capabilities beyond the default, annotations, and every other field that such a container does not have. The memory of
 * processes is not looked at.
 *
 * What it returns is the spec as it was looked at, written anew: that of the checkpoint may say other things to other readers, as Go merges fields that are there twice.
 *
 * @throws permission_denied - it would; invalid_argument - its spec or options cannot be read
 */
export function harmlessSpec({ runtime, runtimeOptions, spec }: CheckpointOrders): AnyValue {
  const written = rewritten(spec);
  const orders = [
    ...(runtime.includes("/") ? [`the runtime ${quoted(runtime)}`] : []),
    ...(runtimeOptions === undefined ? [] : optionOrders(runtimeOptions)),
    ...specOrders(written),
  ];
  if (orders.length === 0) return written;
  const told = orders.slice(0, TOLD).map((order) => abridged(order, TOLD_LENGTH));
  const rest = orders.length > TOLD ? ` and ${orders.length - TOLD} more` : "";
  throw permissionDenied(
    `it asks for more of this machine than a container has by default: ${told.join(", ")}${rest}; if you know who made it, trust it (--trust)`,
  );
}

function rewritten({ typeUrl, value }: AnyValue): AnyValue {
  return parsed(() => {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(value);
    return { typeUrl, value: new TextEncoder().encode(JSON.stringify(parseExactJson(text))) };
  });
}

/** Whatever is set among runc's options: programs, directories, cgroups, less confinement. */
function optionOrders({ typeUrl, value }: AnyValue): readonly string[] {
  if (typeUrl.slice(typeUrl.lastIndexOf("/") + 1) !== OptionsSchema.typeName) {
    return [`options of type ${quoted(typeUrl)}`];
  }
  const { $typeName: _, $unknown: unknown = [], ...options } = parsed(() => fromBinary(OptionsSchema, value));
  const set = Object.entries(options).filter(([, each]) => each !== "" && each !== false && each !== 0);
  return [
    ...set.map(([name, each]) => `the runtime option ${name}=${JSON.stringify(each)}`),
    ...unknown.map(({ no }) => `the runtime option ${no}`),
  ];
}

const DEFAULT = generateSpec({ namespace: "default", id: "default", options: [withDefaultUnixDevices] });
/** Not there before 2.x. */
const NEWER_MASKS: ReadonlySet<string> = new Set(["/proc/latency_stats", "/sys/devices/virtual/powercap"]);

function specOrders(any: AnyValue): readonly string[] {
  return parsed(() => {
    const spec = decodeSpec(any);
    return [...unknownFields(spec), ...fileOrders(spec), ...kernelOrders(spec)];
  });
}

function fileOrders({ root, mounts = [], linux = {} }: RuntimeSpec): readonly string[] {
  const { maskedPaths = [], readonlyPaths = [] } = linux;
  const hidden = DEFAULT.linux?.maskedPaths?.filter((path) => !NEWER_MASKS.has(path)) ?? [];
  const shown = [
    ...hidden.filter((path) => !maskedPaths.includes(path)),
    ...(DEFAULT.linux?.readonlyPaths ?? []).filter((path) => ![...readonlyPaths, ...maskedPaths].includes(path)),
  ];
  return [
    // Without a path it is the bundle, with what the daemon and the shim run as they find it there.
    ...(root?.path === "rootfs" ? [] : ["a root that is not its own"]),
    ...mounts
      .filter((mount) => !isHarmless(mount))
      .map(({ source = "", destination }) => `the mount of ${JSON.stringify(source)} at ${quoted(destination)}`),
    ...listed("access to", shown),
  ];
}

/** As one order. */
function listed(what: string, names: readonly string[]): readonly string[] {
  return names.length === 0 ? [] : [`${what} ${names.join(", ")}`];
}

function kernelOrders({ process, linux = {} }: RuntimeSpec): readonly string[] {
  const { namespaces = [], devices = [], resources = {} } = linux;
  const fresh = new Set(namespaces.filter(({ path = "" }) => path === "").map(({ type }) => type));
  const shared = [
    ...namespaces.filter(({ path = "" }) => path !== "").map(({ type }) => type),
    ...(DEFAULT.linux?.namespaces ?? []).map(({ type }) => type).filter((type) => !fresh.has(type)),
  ];
  const usual = new Set(DEFAULT.process?.capabilities?.bounding ?? []);
  const capabilities = new Set(Object.values(process?.capabilities ?? {}).flat());
  const rules = new Set((DEFAULT.linux?.resources?.devices ?? []).map(keyOf));
  return [
    ...[...new Set(shared)].map((type) => `the ${quoted(type)} namespace of another`),
    ...listed("the capabilities", [...capabilities].filter((each) => !usual.has(each)).map(quoted)),
    ...listed(
      "the devices",
      devices.map(({ path }) => quoted(path)),
    ),
    ...(resources.devices ?? [])
      .filter((rule) => rule.allow && !rules.has(keyOf(rule)))
      .map((rule) => `the right to ${JSON.stringify(rule)}`),
  ];
}

/** Of a file system's own, or of how it is there; neither of those that show another one. */
const MOUNT_OPTION =
  /^(?:ro|rw|(?:no)?(?:suid|dev|exec|atime|diratime)|(?:rel|strict)atime|r?(?:private|slave|shared)|newinstance|tmpcopyup|(?:size|mode|ptmxmode|uid|gid|nr_inodes|nr_blocks)=\w+%?)$/;

/** File systems of the kernel's own, new ones; those that show its settings only as they are by default. */
function isHarmless({ type = "", options = [], destination, source }: SpecMount): boolean {
  if (!options.every((option) => MOUNT_OPTION.test(option))) return false;
  if (type === "tmpfs" || type === "mqueue" || type === "devpts") return true;
  if (type === "cgroup" || type === "cgroup2") return options.includes("ro") && !options.includes("rw");
  const same = DEFAULT.mounts?.find((mount) => mount.destination === destination && mount.type === type);
  return same !== undefined && keyOf({ ...same }) === keyOf({ destination, type, source, options });
}

/** Of what is the same but for order. */
function keyOf(value: object): string {
  const entries = Object.entries(value).map(([name, each]) => [name, Array.isArray(each) ? each.toSorted() : each]);
  return JSON.stringify(entries.toSorted());
}

function parsed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw invalidArgument("its spec or its runtime's options cannot be read", { cause: error });
  }
}
