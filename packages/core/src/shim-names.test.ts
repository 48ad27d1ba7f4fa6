import { describe, expect, it } from "vitest";
import { codeName, codeOf } from "@berth/errors";

import {
  exitMarkName,
  exitRecordName,
  findSandboxAnnotation,
  MAX_SHIM_SOCKET_DIR_BYTES,
  poolGroup,
  shimSocketPath,
} from "./shim-names.ts";

const group = { grpcAddress: "/run/containerd/containerd.sock", namespace: "default", group: "c1" };

describe("names that shims and daemon share", () => {
  it("shimSocketPath has containerd's name", () => {
    // echo -n /run/containerd/containerd.sock/default/c1 | sha256sum
    expect(shimSocketPath("/run/s", group)).toBe(
      "/run/s/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888",
    );
  });

  it("shimSocketPath takes a directory that is just short enough", () => {
    const longest = `/${"d".repeat(MAX_SHIM_SOCKET_DIR_BYTES - 1)}`;
    expect(Buffer.byteLength(shimSocketPath(longest, group))).toBe(106);
    expect(refusal(() => shimSocketPath(`${longest}d`, group))).toBe("invalid_argument");
  });

  it.each([
    [0, undefined, "pool-0"],
    [7, "", "pool-7"],
    [1, "/shims/a", "pool-1@/shims/a"],
  ])("poolGroup(%j, %j) is %j", (index, cgroup, expected) => {
    expect(poolGroup(index, cgroup)).toBe(expected);
  });

  it.each([
    [{ annotations: { "io.kubernetes.cri.sandbox-id": "s", "io.containerd.runc.v2.group": "g" } }, "g"],
    [{ annotations: { "io.kubernetes.cri.sandbox-id": "s", "io.containerd.runc.v2.group": "" } }, "s"],
    [{ annotations: { "io.kubernetes.cri.sandbox-id": 7 } }, undefined],
    [{ annotations: null }, undefined],
    [null, undefined],
  ])("findSandboxAnnotation(%j) is %j", (spec, expected) => {
    expect(findSandboxAnnotation(spec)).toBe(expected);
  });

  it("records of ends are files of their own directory", () => {
    expect([exitRecordName(""), exitMarkName("")]).toEqual(["init.json", "init.sent"]);
    expect([exitRecordName("e1"), exitMarkName("e1")]).toEqual(["exec.e1.json", "exec.e1.sent"]);
    expect(refusal(() => exitRecordName("../e1"))).toBe("invalid_argument");
    expect(refusal(() => exitMarkName("e\0"))).toBe("invalid_argument");
  });
});

function refusal(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return codeName(codeOf(error));
  }
}
