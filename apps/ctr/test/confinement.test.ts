import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { apparmorProfile } from "@berth/oci/spec";
import { debianFile, newerTool, runProgram, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

/** Containerd 2.1 takes every device whose minor number is no multiple of 16 for a partition; later ones do not. */
const CLASSES = `
Classes:
  slow:
    - Weight: 80
    - Devices: ["/dev/[vs]d[a-z]", "/dev/loop[0]"]
      ThrottleReadBps: 50M
      ThrottleWriteBps: 1Gi
      ThrottleReadIOPS: 10k
      Weight: 50
    - Devices: [/dev/loop0]
      ThrottleReadBps: 1M
`;

describe("flags that confine a container", () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await startBench("berthd");
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const theirs = (...args: readonly string[]) =>
    runProgram(newerTool("ctr"), ["--address", bench.daemon.address, ...args], { timeoutMs: 60_000 });
  async function info(id: string): Promise<{ readonly Runtime: object; readonly Spec: { readonly linux: object } }> {
    // The document is the one that the command promises.
    return JSON.parse(await bench.say("containers", "info", id)) as Awaited<ReturnType<typeof info>>;
  }

  it("give the classes of block I/O that Go's ctr gives", async () => {
    const file = join(bench.directory.path, "blockio.yaml");
    await writeFile(file, CLASSES);
    const flags = ["--blockio-config-file", file, "--blockio-class", "slow", BUSYBOX_IMAGE];
    const own = await bench.ctr(["containers", "create", ...flags, "own"]);
    expect(own.code).toBe(0);
    expect(await theirs("containers", "create", ...flags, "other")).toMatchObject({ code: 0 });
    const limits = await Promise.all(
      ["own", "other"].map(async (id) => {
        const { resources } = (await info(id)).Spec.linux as { readonly resources: { readonly blockIO: object } };
        // Go's are in the order of a map.
        return Object.entries(resources.blockIO).map(([field, value]) => [
          field,
          Array.isArray(value) ? value.toSorted((a, b) => a.major - b.major || a.minor - b.minor) : value,
        ]);
      }),
    );
    expect(Object.fromEntries(limits[0] ?? [])).toEqual(Object.fromEntries(limits[1] ?? []));
    expect(Object.fromEntries(limits[0] ?? [])).toMatchObject({ weight: 80 });
    expect(await bench.fail("containers", "create", "--blockio-class", "slow", BUSYBOX_IMAGE, "x")).toContain(
      "--blockio-config-file",
    );
    const missing = ["--blockio-config-file", file, "--blockio-class", "none"];
    expect(await bench.fail("containers", "create", ...missing, BUSYBOX_IMAGE, "x")).toContain('"none"');
  });

  it("tell a runtime where its configuration is", async () => {
    const flags = ["--runtime", "io.containerd.other.v1", "--runtime-config-path", "/etc/other.toml", BUSYBOX_IMAGE];
    await bench.say("containers", "create", ...flags, "configured");
    expect(await theirs("containers", "create", ...flags, "theirs")).toMatchObject({ code: 0 });
    expect((await info("configured")).Runtime).toEqual((await info("theirs")).Runtime);
    const own = ["--runtime-config-path", "/etc/other.toml", BUSYBOX_IMAGE, "x"];
    expect(await bench.fail("containers", "create", ...own)).toContain("runtime-config-path");
  });

  it("make a profile of AppArmor where the kernel has it", async () => {
    const flags = ["--apparmor-default-profile", "berth-default", BUSYBOX_IMAGE, "armored", "true"];
    // A fact of the kernel: without it, that is said.
    if (!existsSync("/sys/kernel/security/apparmor/profiles"))
      expect(await bench.fail("run", "--rm", ...flags)).toContain("the kernel has no AppArmor");
    else await bench.say("run", "--rm", ...flags);
    const both = ["--apparmor-profile", "a", ...flags];
    expect(await bench.fail("containers", "create", ...both)).toContain("--apparmor-profile");
    const bad = ["--apparmor-default-profile", "a { file, } profile b", BUSYBOX_IMAGE, "armored"];
    expect(await bench.fail("containers", "create", ...bad)).toContain("invalid name");
  });
});

it.each([
  { abi: true, tunables: true, base: true, manager: "unconfined" },
  { abi: false, tunables: false, base: false, manager: "berthd" },
  { abi: false, tunables: false, base: false, manager: '/usr/{,local/}bin/my "berthd"' },
])("AppArmor's own parser takes the profile with %j", { timeout: 60_000 }, async (parts) => {
  await using directory = await temporaryDirectory("apparmor");
  const profile = join(directory.path, "profile");
  await writeFile(profile, apparmorProfile("berth-default", parts));
  const rules = debianFile("etc/apparmor.d");
  const args = ["--stdout", "--skip-cache", "--quiet", "--base", rules, "-M", join(rules, "abi/3.0"), profile];
  const { code, stdout, stderr } = await runProgram(debianFile("sbin/apparmor_parser"), args);
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain("berth-default");
});
