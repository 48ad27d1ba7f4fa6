import { fromBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { AnyValue } from "@berth/core/any";
import { invalidArgument, permissionDenied } from "@berth/errors";
import type { RuntimeSpec, SpecMount } from "@berth/oci/spec";
import { decodeSpec, generateSpec, withDefaultUnixDevices } from "@berth/oci/spec";

import { unknownFields } from "./checkpoint-fields.ts";

/** What a checkpoint would have a daemon run, as root. */
export interface CheckpointOrders {
  readonly runtime: string;
  readonly runtimeOptions?: AnyValue;
  readonly spec: AnyValue;
}

/**
 * This refuses a checkpoint that would give its container more of the machine than one has that is made without flags. What is not known to be harmless is refused: a runtime by its
 * path, options for it, mounts, devices, namespaces and capabilities beyond the default, annotations, and every other field that such a container does not have. The memory of
 * processes is not looked at.
 *
 * @throws permission_denied - it would; invalid_argument - its spec or options cannot be read
 */
export function requireHarmless({ runtime, runtimeOptions, spec }: CheckpointOrders): void {
  const orders = [
    ...(runtime.includes("/") ? [`the runtime ${JSON.stringify(runtime)}`] : []),
    ...(runtimeOptions === undefined ? [] : optionOrders(runtimeOptions)),
    ...specOrders(spec),
  ];
  if (orders.length === 0) return;
  throw permissionDenied(
    `it asks for more of this machine than a container has by default: ${orders.join(", ")}; if you know who made it, trust it (--trust)`,
  );
}

/** Whatever is set among runc's options: programs, directories, cgroups, less confinement. */
function optionOrders({ typeUrl, value }: AnyValue): readonly string[] {
  if (typeUrl.slice(typeUrl.lastIndexOf("/") + 1) !== OptionsSchema.typeName) {
    return [`options of type ${JSON.stringify(typeUrl)}`];
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
  requireOneReading(any);
  return parsed(() => {
    const spec = decodeSpec(any);
    return [...unknownFields(spec), ...fileOrders(spec), ...kernelOrders(spec)];
  });
}

function fileOrders({ mounts = [], linux = {} }: RuntimeSpec): readonly string[] {
  const { maskedPaths = [], readonlyPaths = [] } = linux;
  const hidden = DEFAULT.linux?.maskedPaths?.filter((path) => !NEWER_MASKS.has(path)) ?? [];
  const shown = [
    ...hidden.filter((path) => !maskedPaths.includes(path)),
    ...(DEFAULT.linux?.readonlyPaths ?? []).filter((path) => ![...readonlyPaths, ...maskedPaths].includes(path)),
  ];
  return [
    ...mounts
      .filter((mount) => !isHarmless(mount))
      .map(({ source = "", destination }) => `the mount of ${JSON.stringify(source)} at ${destination}`),
    ...shown.map((path) => `access to ${path}`),
  ];
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
    ...[...new Set(shared)].map((type) => `the ${type} namespace of another`),
    ...[...capabilities].filter((each) => !usual.has(each)),
    ...devices.map(({ path }) => `the device ${path}`),
    ...(resources.devices ?? [])
      .filter((rule) => rule.allow && !rules.has(keyOf(rule)))
      .map((rule) => `the devices ${JSON.stringify(rule)}`),
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

/**
 * Go merges fields that come twice: what was looked at here would not be what runs. That it takes names in any case does no harm: of those that are looked at only one spelling is known.
 *
 * @throws invalid_argument
 */
function requireOneReading({ value }: AnyValue): void {
  const text = new TextDecoder().decode(value);
  let count = 0;
  parsed(() =>
    // A reviver is also called for members of lists, and at last for the whole.
    JSON.parse(text, function (this: unknown, name, each) {
      if (Array.isArray(this) || name === "") return each;
      count += 1;
      return each;
    }),
  );
  const names = text.matchAll(/"((?:[^"\\]|\\.)*)"(\s*:)?/gs);
  const written = [...names].filter(([, name, colon]) => colon !== undefined && name !== "");
  if (written.length !== count) throw invalidArgument("a field of its spec is there twice");
}

function parsed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw invalidArgument("its spec or its runtime's options cannot be read", { cause: error });
  }
}
