import type { MessageInitShape } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { packMessage } from "@berth/core/messages";
import { Code, codeOf, messageOf } from "@berth/errors";
import { encodeSpec, generateSpec, withDefaultSeccomp, withDefaultUnixDevices } from "@berth/oci/spec";
import { describe, expect, it } from "vitest";

import type { CheckpointOrders } from "./checkpoint-trust.ts";
import { harmlessSpec } from "./checkpoint-trust.ts";

const RUNTIME = "io.containerd.runc.v2";
const DEFAULT = generateSpec({ namespace: "n", id: "c", options: [withDefaultUnixDevices] });

/** What is handed on of a spec. */
const writtenOf = (text: string, orders: Partial<CheckpointOrders> = {}): string => {
  const { typeUrl } = encodeSpec(DEFAULT);
  const spec = { typeUrl, value: new TextEncoder().encode(text) };
  return new TextDecoder().decode(harmlessSpec({ runtime: RUNTIME, spec, ...orders }).value);
};
const codeFor = (text: string, orders: Partial<CheckpointOrders> = {}): Code | undefined => {
  try {
    writtenOf(text, orders);
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
};
/** The default spec, with more fields behind the others. */
const followedBy = (fields: string): string => `${JSON.stringify(DEFAULT).slice(0, -1)},${fields}}`;
/** Those, in a field of the spec that is an object and follows it. */
const followedIn = (field: "linux" | "root", fields: string): string =>
  followedBy(`"${field}":${JSON.stringify(DEFAULT[field]).slice(0, -1)},${fields}}`);
const { linux, process } = DEFAULT;
const resources = (change: object): object => ({ linux: { ...linux, resources: { ...linux?.resources, ...change } } });
const mount = (type: string, source: string, ...options: readonly string[]): object => ({
  mounts: [{ destination: "/x", type, source, options }],
});
type RuncOptions = MessageInitShape<typeof OptionsSchema>;
const optionsOf = (options: RuncOptions) => ({ runtimeOptions: packMessage(OptionsSchema, options) });
/** Field 100, a number: 1. */
const UNKNOWN_OPTION = new Uint8Array([0xa0, 0x06, 0x01]);

describe("a checkpoint that is not trusted", () => {
  it("may have what a container has by default", () => {
    expect(codeFor(JSON.stringify(DEFAULT))).toBeUndefined();
  });

  it.each<[string, object]>([
    ["limits", resources({ memory: { limit: 1 << 20 }, cpu: { shares: 512, quota: 1000 }, pids: { limit: 9 } })],
    ["a tmpfs", mount("tmpfs", "tmpfs", "noexec", "size=64m", "mode=1777", "rprivate")],
    ["its control groups, to read", mount("cgroup2", "cgroup", "ro", "nosuid", "noexec", "nodev", "relatime")],
    [
      "a user namespace",
      {
        linux: {
          ...linux,
          namespaces: [...(linux?.namespaces ?? []), { type: "user" }, { type: "cgroup" }],
          uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
        },
      },
    ],
    ["a filter of calls", withDefaultSeccomp()(DEFAULT)],
    ["a profile", { process: { ...process, apparmorProfile: "mine", noNewPrivileges: false, oomScoreAdj: 500 } }],
    ["settings of its network", { linux: { ...linux, sysctl: { "net.ipv4.ip_unprivileged_port_start": "0" } } }],
    ["notes of nerdctl", { annotations: { "nerdctl/name": "x" } }],
    ["a field that is not there to Go", { annotations: null }],
  ])("may have %s", (_what, change) => {
    expect(codeFor(JSON.stringify({ ...DEFAULT, ...change }))).toBeUndefined();
  });

  it.each<[string, Partial<CheckpointOrders>]>([
    ["a runtime by its path", { runtime: "/tmp/evil" }],
    ["options of another runtime", { runtimeOptions: { typeUrl: "example.org/Options", value: new Uint8Array() } }],
    ["another runc", optionsOf({ binaryName: "/tmp/evil" })],
    ["no root of its own", optionsOf({ noPivotRoot: true })],
    ["options that are not known", { runtimeOptions: { ...optionsOf({}).runtimeOptions, value: UNKNOWN_OPTION } }],
  ])("may not have %s", (_what, orders) => {
    expect(codeFor(JSON.stringify(DEFAULT), orders)).toBe(Code.PermissionDenied);
  });

  it("may have options that say nothing", () => {
    expect(codeFor(JSON.stringify(DEFAULT), optionsOf({}))).toBeUndefined();
  });

  it.each<[string, object]>([
    ["hooks", { hooks: { prestart: [{ path: "/bin/sh" }] } }],
    ["a root of the machine", { root: { path: "/" } }],
    ["its bundle for a root", { root: {} }],
    ["its bundle for a root, by null", { root: { path: null } }],
    ["no root", { root: undefined }],
    ["null for a root", { root: null }],
    ["a bind mount", mount("none", "/", "rbind")],
    ["a bind mount of another type", mount("tmpfs", "/", "bind")],
    ["a disk", mount("ext4", "/dev/sda1")],
    ["layers", mount("overlay", "overlay", "lowerdir=/:/etc")],
    ["settings of the kernel", mount("sysfs", "sysfs", "rw")],
    ["a device", { linux: { ...linux, devices: [{ path: "/dev/sda", type: "b", major: 8, minor: 0 }] } }],
    ["the right to devices", { linux: { ...linux, resources: { devices: [{ allow: true, access: "rwm" }] } } }],
    ["no namespace", { linux: { ...linux, namespaces: [{ type: "mount" }] } }],
    [
      "a namespace of another",
      { linux: { ...linux, namespaces: [...(linux?.namespaces ?? []), { type: "user", path: "/proc/1/ns/user" }] } },
    ],
    ["unmasked paths", { linux: { ...linux, maskedPaths: [] } }],
    ["writable settings", { linux: { ...linux, readonlyPaths: [] } }],
    ["settings for CRIU", { annotations: { "org.criu.config": "/blob" } }],
    ["properties of a unit of systemd", { annotations: { "org.systemd.property.CollectMode": "'x'" } }],
    ["an interface of the machine", { linux: { ...linux, netDevices: { eth0: {} } } }],
    ["the cgroup of all", { linux: { ...linux, cgroupsPath: "/" } }],
    ["a cgroup above", { linux: { ...linux, cgroupsPath: "/../x" } }],
    ["a unit of systemd", { linux: { ...linux, cgroupsPath: "system.slice:berth:x" } }],
    ["mounts that reach out", { linux: { ...linux, rootfsPropagation: "rshared" } }],
    ["a label of SELinux", { process: { ...process, selinuxLabel: "system_u:system_r:spc_t:s0" } }],
    ["a label of its mounts", { linux: { ...linux, mountLabel: "system_u:object_r:container_file_t:s0" } }],
    [
      "a listener of calls",
      { linux: { ...linux, seccomp: { defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/run/x" } } },
    ],
    ["notifications of calls", { linux: { ...linux, seccomp: { defaultAction: "SCMP_ACT_NOTIFY" } } }],
    ["a class of caches", { linux: { ...linux, intelRdt: { closID: "x" } } }],
    ["a class of caches, empty", { linux: { ...linux, intelRdt: {} } }],
    ["settings of a kernel's network", { linux: { ...linux, sysctl: { "net.ipv4.ip_forward": "1" } } }],
    ["a life above others", { process: { ...process, oomScoreAdj: -1000 } }],
    ["real time", { process: { ...process, rlimits: [{ type: "RLIMIT_RTPRIO", hard: 99, soft: 99 }] } }],
    ["a scheduler", { process: { ...process, scheduler: { policy: "SCHED_FIFO" } } }],
    ["files of the control group", resources({ unified: { "cgroup.procs": "1" } })],
    ["weight on disks", resources({ blockIO: { weight: 1000 } })],
    ["more than its share", resources({ cpu: { shares: 262_144 } })],
    ["realtime", resources({ cpu: { realtimeRuntime: 950_000 } })],
    ["mounts with owners mapped", { mounts: [{ destination: "/x", type: "tmpfs", uidMappings: [] }] }],
    ["an option of mounts that is not known", mount("tmpfs", "tmpfs", "remount")],
    ["a field that is not known", { future: {} }],
    ["the runtime's own", { linux: { ...linux, future: 0 } }],
    ["another system's", { windows: {} }],
    ["a capability", { process: { ...DEFAULT.process, capabilities: { ambient: ["CAP_SYS_ADMIN"] } } }],
  ])("may not have %s", (_what, change) => {
    expect(codeFor(JSON.stringify({ ...DEFAULT, ...change }))).toBe(Code.PermissionDenied);
  });

  it.each([
    ["in another case", followedBy(`"Hooks":{}`)],
    ["with letters that Go folds", followedBy(`"hoo\u212As":{}`)],
    ["escaped", followedBy(`"hoo\\u006bs":{}`)],
    ["that empty what is known, in another case", followedBy(`"Linux":null`)],
    ["that empty its root", followedIn("root", `"Path":null`)],
    ["that empty its namespaces", followedIn("linux", `"NAMESPACES":null`)],
    ["that show what is masked", followedIn("linux", `"MaskedPaths":null`)],
    ["that make writable what is not", followedIn("linux", `"ReadonlyPaths":null`)],
    ["that make writable what is not, with letters that Go folds", followedIn("linux", `"readonlyPath\u017F":null`)],
    ["that are not known, of no value", followedBy(`"vm":null`)],
  ])("may not have orders %s", (_what, text) => {
    expect(codeFor(text)).toBe(Code.PermissionDenied);
  });

  it("may not have fields of the wrong kind", () => {
    expect(codeFor(JSON.stringify({ ...DEFAULT, mounts: { a: 1 } }))).toBe(Code.InvalidArgument);
  });

  it.each([
    ["twice", followedBy(`"linux":{"devices":[{}]},"linux":${JSON.stringify(linux)}`), JSON.stringify(DEFAULT)],
    [
      "twice, escaped",
      followedBy(`"l\\u0069nux":{"sysctl":{"kernel.core_pattern":"|x"}},"linux":${JSON.stringify(linux)}`),
      JSON.stringify(DEFAULT),
    ],
    [
      "with numbers that JavaScript has not",
      followedBy(`"process":{"rlimits":[{"type":"RLIMIT_CORE","hard":18446744073709551615}]}`),
      JSON.stringify(DEFAULT).replace(
        JSON.stringify(process),
        `{"rlimits":[{"type":"RLIMIT_CORE","hard":18446744073709551615}]}`,
      ),
    ],
  ])("has of fields that are there %s handed on what was looked at alone", (_what, text, expected) => {
    expect(writtenOf(text)).toBe(expected);
  });

  it("has its orders told within bounds, and none that passes for another text", () => {
    const fields = Object.fromEntries(Array.from({ length: 1000 }, (_, at) => [`${at}`.padStart(5000, "x"), 1]));
    const messageFor = (change: object): string => {
      try {
        return writtenOf(JSON.stringify({ ...DEFAULT, ...change }));
      } catch (error) {
        return messageOf(error);
      }
    };
    expect(messageFor(fields).length).toBeLessThan(6000);
    expect(messageFor(fields)).toContain("and 990 more");
    const evil = "x, \u001B[2K\rok";
    for (const change of [
      { [evil]: 1 },
      mount("none", evil),
      { mounts: [{ destination: evil, type: "none", source: "x" }] },
      { linux: { ...linux, devices: [{ path: evil, type: "c" }] } },
      { linux: { ...linux, namespaces: [{ type: evil, path: "/x" }] } },
      { process: { ...process, capabilities: { ambient: [evil] } } },
    ]) {
      expect(messageFor(change)).toContain(JSON.stringify(evil));
      expect(messageFor(change)).not.toContain(evil);
    }
  });
});
