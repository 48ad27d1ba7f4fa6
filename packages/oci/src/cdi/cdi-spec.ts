import { invalidArgument } from "@berth/errors";

import type { SpecHook, SpecIntelRdt } from "../spec-model.ts";

/** What a device, or every device of a kind, changes in a container. */
export interface CdiEdits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly CdiDeviceNode[];
  readonly netDevices?: readonly CdiNetDevice[];
  readonly mounts?: readonly CdiMount[];
  readonly hooks?: readonly (SpecHook & { readonly hookName: string })[];
  readonly intelRdt?: SpecIntelRdt;
  readonly additionalGids?: readonly number[];
}

/** A device file; what is left out is taken from that of the host. */
export interface CdiDeviceNode {
  readonly path: string;
  readonly hostPath?: string;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  readonly permissions?: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** A network interface that leaves the host for the container. */
export interface CdiNetDevice {
  readonly hostInterfaceName: string;
  /** What it is called in the container. */
  readonly name: string;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly options?: readonly string[];
  readonly type?: string;
}

/** A file that tells of the devices of one kind. */
export interface CdiSpec {
  readonly kind: string;
  readonly devices: ReadonlyMap<string, CdiEdits>;
  /** Made once for a container that has any of the devices. */
  readonly edits: CdiEdits;
}

type Check = (value: unknown) => boolean;
type Shape = Readonly<Record<string, Check>>;

const KIND = /^[A-Za-z](?:[\w.-]*[A-Za-z0-9])?\/[A-Za-z](?:[\w.-]*[A-Za-z0-9])?$/;
const NAME = /^[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/;
const HOOKS = new Set(["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]);

const isText: Check = (value) => typeof value === "string" && !value.includes("\0");
const isPath: Check = (value) => isText(value) && String(value).startsWith("/");
// as the kernel has them: IFNAMSIZ with its end, no path
const isInterface: Check = (value) => isText(value) && /^(?!\.\.?$)[^\s/:]{1,15}$/u.test(String(value));
const isNumber: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isFlag: Check = (value) => typeof value === "boolean";
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every((item) => check(item));
const objectOf =
  (shape: Shape, ...required: readonly string[]): Check =>
  (value) =>
    isRecord(value) &&
    required.every((name) => Object.hasOwn(value, name)) &&
    // the standard wants fields refused that are not known: they may be what protects the host
    Object.entries(value).every(([name, field]) => Object.hasOwn(shape, name) && shape[name]?.(field) === true);

const EDITS = objectOf({
  env: listOf((value) => isText(value) && /^[^=]+=/.test(String(value))),
  deviceNodes: listOf(
    objectOf(
      {
        path: isPath,
        hostPath: isPath,
        type: (value) => ["b", "c", "u", "p"].includes(String(value)),
        major: isNumber,
        minor: isNumber,
        fileMode: isNumber,
        permissions: (value) => isText(value) && /^[rwm]*$/.test(String(value)),
        uid: isNumber,
        gid: isNumber,
      },
      "path",
    ),
  ),
  netDevices: listOf(objectOf({ hostInterfaceName: isInterface, name: isInterface }, "hostInterfaceName", "name")),
  mounts: listOf(
    objectOf(
      { hostPath: isText, containerPath: isPath, options: listOf(isText), type: isText },
      "hostPath",
      "containerPath",
    ),
  ),
  hooks: listOf(
    objectOf(
      {
        hookName: (value) => HOOKS.has(String(value)),
        path: isPath,
        args: listOf(isText),
        env: listOf(isText),
        timeout: isNumber,
      },
      "hookName",
      "path",
    ),
  ),
  intelRdt: objectOf({
    closID: isText,
    l3CacheSchema: isText,
    memBwSchema: isText,
    schemata: listOf(isText),
    enableMonitoring: isFlag,
  }),
  additionalGids: listOf(isNumber),
});

const DEVICE = objectOf(
  { name: (value) => isText(value) && NAME.test(String(value)), annotations: isRecord, containerEdits: EDITS },
  "name",
  "containerEdits",
);

const SPEC = objectOf(
  {
    cdiVersion: (value) => isText(value) && /^(?:0\.[3-9]|1\.[01])\.\d+$/.test(String(value)),
    kind: (value) => isText(value) && KIND.test(String(value)),
    annotations: isRecord,
    devices: listOf(DEVICE),
    containerEdits: EDITS,
  },
  "cdiVersion",
  "kind",
  "devices",
);

/**
 * This reads a CDI specification from what JSON.parse returned.
 * @throws invalid_argument - it is none, has a field that is not known here, or names a device twice
 */
export function parseCdiSpec(value: unknown): CdiSpec {
  if (!SPEC(value)) throw invalidArgument("no CDI specification that is understood");
  // just checked
  const { kind, devices, containerEdits } = value as {
    readonly kind: string;
    readonly devices: readonly { readonly name: string; readonly containerEdits: CdiEdits }[];
    readonly containerEdits?: CdiEdits;
  };
  const byName = new Map(devices.map((device) => [device.name, device.containerEdits]));
  if (byName.size !== devices.length) throw invalidArgument(`CDI specification of ${kind} names a device twice`);
  return { kind, devices: byName, edits: containerEdits ?? {} };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** This splits `vendor.com/class=name`; `undefined` for what is no such name: a path, say. */
export function parseCdiName(text: string): { readonly kind: string; readonly name: string } | undefined {
  const at = text.indexOf("=");
  const [kind, name] = [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
  return KIND.test(kind) && NAME.test(name) ? { kind, name } : undefined;
}

/** This writes the name of a device. */
export function formatCdiName(device: { readonly kind: string; readonly name: string }): string {
  return `${device.kind}=${device.name}`;
}
