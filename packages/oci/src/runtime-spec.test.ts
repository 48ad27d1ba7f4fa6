import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import type { RuntimeSpec, SpecOption } from "./runtime-spec.ts";
import {
  decodeSpec,
  encodeProcess,
  encodeSpec,
  execProcess,
  generateSpec,
  parseCapabilityMask,
  readCurrentCapabilities,
  readDevices,
  readHostDevices,
  SpecTypeUrl,
  withAddedCapabilities,
  withAnnotations,
  withCpus,
  withCpuShares,
  withCwd,
  withDefaultUnixDevices,
  withDevices,
  withDroppedCapabilities,
  withEnv,
  withHostname,
  withHostNetwork,
  withImageConfig,
  withMemoryLimit,
  withNamespacePath,
  withPidsLimit,
  withPrivileged,
  withProcessArgs,
  withReadonlyRootfs,
  withRlimit,
  withRootfsPropagation,
  withTty,
} from "./runtime-spec.ts";

const make = (...options: SpecOption[]): RuntimeSpec => generateSpec({ namespace: "ns", id: "c1", options });

describe("generateSpec", () => {
  it("puts the container into a cgroup of its namespace, without arguments and environment", () => {
    const spec = make();
    expect(spec.linux?.cgroupsPath).toBe("/ns/c1");
    expect(spec.process?.args).toBeUndefined();
    expect(spec.process?.env).toBeUndefined();
    expect(spec.process?.noNewPrivileges).toBe(true);
    expect(spec.linux?.namespaces?.map(({ type }) => type)).toEqual(["pid", "ipc", "uts", "mount", "network"]);
    expect(spec.linux?.maskedPaths).toContain("/sys/devices/virtual/powercap");
  });

  it("options leave the spec alone that they are given", () => {
    const before = make();
    const copy = structuredClone(before);
    const options = [
      withTty,
      withEnv(["A=1"]),
      withHostNetwork(),
      withPrivileged({ capabilities: [], devices: [] }),
      withCpus(1),
    ];
    for (const option of options) option(before);
    expect(before).toEqual(copy);
  });
});

describe("withImageConfig", () => {
  const config = { Entrypoint: ["/init"], Cmd: ["run"], Env: ["PATH=/bin", "A=1"], WorkingDir: "/w", User: "guest" };
  const files = { passwd: "guest:x:405:100::/:", group: "users:x:100:\nextra:x:7:guest" };

  it("takes command, environment, directory and user of the image", () => {
    const { process } = make(withEnv(["A=2", "B=3"]), withImageConfig(config, files));
    expect(process).toMatchObject({
      args: ["/init", "run"],
      env: ["PATH=/bin", "A=2", "B=3"],
      cwd: "/w",
      user: { uid: 405, gid: 100, additionalGids: [100, 7] },
    });
  });

  it("arguments replace the command and not the entrypoint", () => {
    expect(make(withImageConfig(config, { ...files, args: ["x"] })).process?.args).toEqual(["/init", "x"]);
    expect(make(withImageConfig(config, files), withProcessArgs("x")).process?.args).toEqual(["x"]);
  });

  it("an empty configuration gives a PATH, / and root with its groups", () => {
    const { process } = make(withImageConfig({}, { group: "wheel:x:10:root" }));
    expect(process).toMatchObject({ args: [], cwd: "/", user: { uid: 0, gid: 0, additionalGids: [0, 10] } });
    expect(process?.env).toEqual(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
  });
});

describe("withEnv", () => {
  it.each([
    [["A=1"], ["A=2"], ["A=2"]],
    [["A=1", "B=2"], ["A"], ["B=2"]],
    [["A=1"], ["C"], ["A=1"]],
    [["A=1"], ["AB=2", "A="], ["A=", "AB=2"]],
  ])("%j changed by %j is %j", (before, change, after) => {
    expect(make(withEnv(before), withEnv(change)).process?.env).toEqual(after);
  });
});

describe("options", () => {
  it("withHostNetwork leaves the network namespace and mounts the host's files", () => {
    const spec = make(withHostNetwork("host1"));
    expect(spec.linux?.namespaces?.map(({ type }) => type)).not.toContain("network");
    expect(spec.mounts?.slice(-2).map(({ source }) => source)).toEqual(["/etc/hosts", "/etc/resolv.conf"]);
    expect(spec.process?.env).toEqual(["HOSTNAME=host1"]);
  });

  it("withPrivileged opens everything, and devices only when they are given", () => {
    const open = make(withPrivileged({ capabilities: ["CAP_KILL"] }));
    expect(open.linux).not.toHaveProperty("maskedPaths");
    expect(open.linux).not.toHaveProperty("readonlyPaths");
    expect(open.process?.capabilities?.bounding).toEqual(["CAP_KILL"]);
    expect(open.mounts?.find(({ type }) => type === "sysfs")?.options).toContain("rw");
    expect(open.linux?.resources?.devices).toEqual([{ allow: false, access: "rwm" }]);
    const devices = [{ path: "/dev/x", type: "c", major: 1, minor: 2 }];
    const all = make(withPrivileged({ capabilities: [], devices }));
    expect(all.linux?.resources?.devices).toEqual([{ allow: true, access: "rwm" }]);
    expect(all.linux?.devices).toEqual(devices);
  });

  it("limits, names and namespaces land where the specification has them", () => {
    const spec = make(
      withMemoryLimit(1 << 20),
      withCpus(1.5),
      withCpuShares(7),
      withPidsLimit(9),
      withReadonlyRootfs,
      withHostname("h"),
      withCwd("/x"),
      withTty,
      withRootfsPropagation("rslave"),
      withAnnotations(new Map([["a", "1"]])),
      withNamespacePath("network", "/n"),
      withNamespacePath("user"),
      withRlimit({ type: "RLIMIT_NOFILE", soft: 1, hard: 2 }),
    );
    expect(spec).toMatchObject({
      root: { path: "rootfs", readonly: true },
      hostname: "h",
      annotations: { a: "1" },
      process: {
        cwd: "/x",
        terminal: true,
        env: ["TERM=xterm"],
        rlimits: [{ type: "RLIMIT_NOFILE", soft: 1, hard: 2 }],
      },
      linux: {
        rootfsPropagation: "rslave",
        resources: {
          memory: { limit: 1 << 20 },
          cpu: { quota: 150_000, period: 100_000, shares: 7 },
          pids: { limit: 9 },
        },
      },
    });
    expect(spec.linux?.namespaces?.slice(-2)).toEqual([{ type: "network", path: "/n" }, { type: "user" }]);
  });

  it("capabilities are added once and dropped everywhere", () => {
    const sets = make(withAddedCapabilities(["CAP_KILL", "CAP_BPF"]), withDroppedCapabilities(["CAP_CHOWN"])).process
      ?.capabilities;
    for (const set of [sets?.bounding, sets?.effective, sets?.permitted]) {
      expect(set?.filter((name) => name === "CAP_KILL")).toHaveLength(1);
      expect(set).toContain("CAP_BPF");
      expect(set).not.toContain("CAP_CHOWN");
    }
  });

  it("execProcess keeps user and environment of the container", () => {
    const process = execProcess(make(withEnv(["A=1"]), withTty), ["ls"], withCwd("/y"));
    expect(process).toMatchObject({ args: ["ls"], cwd: "/y", terminal: false, env: ["A=1", "TERM=xterm"] });
  });
});

describe("of the host", () => {
  it("readDevices tells numbers and mode of /dev/null, with which withDevices makes a rule", async () => {
    const devices = await readDevices("/dev/null", "/dev/nothing");
    expect(devices).toMatchObject([{ path: "/dev/nothing", type: "c", major: 1, minor: 3, fileMode: 0o666 }]);
    const rules = make(withDefaultUnixDevices, withDevices(devices, "r")).linux?.resources?.devices;
    expect(rules?.at(-1)).toEqual({ allow: true, type: "c", major: 1, minor: 3, access: "r" });
    expect(rules).toHaveLength(11);
  });

  it("readHostDevices leaves out terminals and the console", async () => {
    const paths = (await readHostDevices()).map(({ path }) => path);
    expect(paths).toContain("/dev/zero");
    expect(paths.filter((path) => path.startsWith("/dev/pts/") || path === "/dev/console")).toEqual([]);
  });

  it("capabilities are read from a mask by their numbers", async () => {
    expect(parseCapabilityMask("0000000000000021")).toEqual(["CAP_CHOWN", "CAP_KILL"]);
    expect(parseCapabilityMask("10000000000")).toEqual(["CAP_CHECKPOINT_RESTORE"]);
    expect(await readCurrentCapabilities()).not.toEqual(parseCapabilityMask("0"));
  });
});

describe("Any", () => {
  it("a spec keeps fields that are not known", () => {
    const spec = { ...make(), vm: { kernel: 1 } };
    expect(decodeSpec(encodeSpec(spec))).toEqual(spec);
    expect(encodeSpec(spec).typeUrl).toBe(SpecTypeUrl.spec);
  });

  it.each([
    ["another type", encodeProcess({ user: { uid: 0, gid: 0 }, cwd: "/" })],
    ["no JSON", { typeUrl: SpecTypeUrl.spec, value: new Uint8Array([123]) }],
    ["no object", { typeUrl: SpecTypeUrl.spec, value: new TextEncoder().encode("[]") }],
  ])("decodeSpec refuses %s", (_, any) => {
    let error: unknown;
    try {
      decodeSpec(any);
    } catch (thrown) {
      error = thrown;
    }
    expect(codeOf(error)).toBe(Code.InvalidArgument);
  });
});
