import { generateSpec, type RuntimeSpec, withAddedCapabilities, withDefaultSeccomp } from "@berth/oci/spec";
import type { PeerDaemon } from "@berth/testing";
import { busyboxImage, startContainerd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { type Bench, BUSYBOX_IMAGE, startBench } from "./peers.ts";

const CAPABILITIES =
  "CAP_BPF CAP_DAC_READ_SEARCH CAP_PERFMON CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_MODULE CAP_SYS_NICE CAP_SYS_PACCT CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_SYSLOG".split(
    " ",
  );
/** Calls that containerd let in after the version that is asked here. */
const IN =
  "getxattrat listmount listxattrat lsm_get_self_attr lsm_list_modules lsm_set_self_attr mseal removexattrat setxattrat statmount uretprobe".split(
    " ",
  );

interface Rule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly Readonly<Record<string, unknown>>[];
}

describe("specs beside those of Debian's containerd", { timeout: 60_000 }, () => {
  let daemon: PeerDaemon;
  beforeAll(async () => {
    daemon = await startContainerd({ release: "2" });
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  it("the default is the same in every field but those that containerd has changed since", async () => {
    // what Go prints is compared as JSON
    const theirs = JSON.parse((await daemon.ctr(["oci", "spec"])).stdout) as RuntimeSpec;
    const ours = JSON.parse(JSON.stringify(generateSpec({ namespace: "default", id: "" }))) as RuntimeSpec;
    expect(ours).toEqual({ ...theirs, ociVersion: "1.3.0" });
  });

  /** Every rule for a call, without empty lists: what a filter is made of, whatever the order. */
  const rulesOf = (spec: RuntimeSpec): Map<string, string[]> => {
    const seccomp = spec.linux?.seccomp ?? { syscalls: [] };
    const { syscalls } = seccomp as { readonly syscalls: readonly Rule[] }; // of the runtime specification
    const rules = new Map<string, string[]>();
    for (const { names, action, errnoRet, args = [] } of syscalls) {
      const rule = JSON.stringify({ action, errnoRet, args: args.map(({ valueTwo: _zero, ...rest }) => rest) });
      for (const name of names) rules.set(name, [...new Set([...(rules.get(name) ?? []), rule])].toSorted());
    }
    return rules;
  };

  it.each([
    ["none beside the default", [] as string[]],
    ["each alone", CAPABILITIES],
    ["all together", [CAPABILITIES.join(" ")]],
  ])("the seccomp profile lets the same calls through, with capabilities: %s", async (_, sets) => {
    for (const [index, set] of (sets.length === 0 ? [""] : sets).entries()) {
      const names = set.split(" ").filter(Boolean);
      const id = `s${sets.length}-${index}`;
      const added = names.flatMap((name) => ["--cap-add", name]);
      await daemon.ctr(["c", "create", "--seccomp", ...added, BUSYBOX_IMAGE, id, "true"]);
      // what Go prints of a container
      const { Spec } = JSON.parse((await daemon.ctr(["c", "info", id])).stdout) as { readonly Spec: RuntimeSpec };
      const options = [withAddedCapabilities(names), withDefaultSeccomp("amd64")];
      const [ours, theirs] = [rulesOf(generateSpec({ namespace: "default", id, options })), rulesOf(Spec)];
      for (const name of IN) ours.delete(name);
      // Ciphers of the kernel are none of a container's either by now: three ranges instead of one exception.
      expect([ours.get("socket")?.length, theirs.get("socket")?.length]).toEqual([3, 1]);
      for (const rules of [ours, theirs]) rules.delete("socket");
      expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(theirs));
    }
  });
});

describe.each(["berthd", "containerd"] as const)("the default seccomp profile on %s", { timeout: 60_000 }, (kind) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await startBench(kind);
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  it.each([
    [["--seccomp"], "grep -w Seccomp /proc/self/status", "2"],
    [[], "grep -w Seccomp /proc/self/status", "0"],
    [["--seccomp"], "unshare -U true 2>&1 || echo refused", "refused"],
    [["--seccomp", "--cap-add", "CAP_SYS_ADMIN"], "unshare -m echo made", "made"],
  ])("with %j: %s", async (flags, script, expected) => {
    const id = `seccomp-${kind}-${crypto.randomUUID().slice(0, 8)}`;
    const { stdout } = await bench.ctr(["run", "--rm", ...flags, BUSYBOX_IMAGE, id, "sh", "-c", script]);
    expect(stdout.trim().split(/\s+/).at(-1)).toBe(expected);
  });

  it("a device that no vendor tells of is not found, by its name or as a GPU", async () => {
    for (const flags of [
      ["--device", "vendor.example/none=0"],
      ["--gpus", "0"],
    ]) {
      const { code, stderr } = await bench.ctr(["run", "--rm", ...flags, BUSYBOX_IMAGE, "none", "true"]);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/CDI/)]);
    }
  });
});
