import { Code, codeOf } from "@berth/errors";
import { encodeSpec, generateSpec, withDefaultUnixDevices } from "@berth/oci/spec";
import { describe, expect, it } from "vitest";

import { requireHarmless } from "./checkpoint-trust.ts";

const RUNTIME = "io.containerd.runc.v2";
const DEFAULT = generateSpec({ namespace: "n", id: "c", options: [withDefaultUnixDevices] });

const codeFor = (text: string, runtime = RUNTIME): Code | undefined => {
  const { typeUrl } = encodeSpec(DEFAULT);
  try {
    requireHarmless({ runtime, spec: { typeUrl, value: new TextEncoder().encode(text) } });
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
};
const { linux } = DEFAULT;
const mount = (type: string, source: string, ...options: readonly string[]): object => ({
  mounts: [{ destination: "/x", type, source, options }],
});

describe("a checkpoint that is not trusted", () => {
  it("may have what a container has by default", () => {
    expect(codeFor(JSON.stringify(DEFAULT))).toBeUndefined();
    expect(codeFor(JSON.stringify({ ...DEFAULT, annotations: { Hooks: "x" } }))).not.toBe(Code.PermissionDenied);
  });

  it("may not have a runtime by its path", () => {
    expect(codeFor(JSON.stringify(DEFAULT), "/tmp/evil")).toBe(Code.PermissionDenied);
  });

  it.each<[string, object]>([
    ["hooks", { hooks: { prestart: [{ path: "/bin/sh" }] } }],
    ["a root of the machine", { root: { path: "/" } }],
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
    ["a capability", { process: { ...DEFAULT.process, capabilities: { ambient: ["CAP_SYS_ADMIN"] } } }],
  ])("may not have %s", (_what, change) => {
    expect(codeFor(JSON.stringify({ ...DEFAULT, ...change }))).toBe(Code.PermissionDenied);
  });

  it.each([
    ["in another case", `{"Hooks":{}}`],
    ["with letters that Go folds", `{"hoo\u212As":{}}`],
    ["escaped", `{"hoo\\u006bs":{}}`],
    ["twice", `{"linux":{"devices":[{}]},"linux":{}}`],
    ["of the wrong kind", `{"mounts":{"a":1}}`],
  ])("may not have fields %s", (_what, change) => {
    expect(
      codeFor(
        `${JSON.stringify(DEFAULT).slice(0, -1)},${change.slice(1)}`.replace(
          /"mounts":\[.*?\],(?="linux")/,
          change.includes("mounts") ? "" : "$&",
        ),
      ),
    ).toBe(Code.InvalidArgument);
  });
});
