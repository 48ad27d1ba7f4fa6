import { existsSync } from "node:fs";

import { launcher, runProgram } from "@berth/testing";
import { describe, expect, it } from "vitest";

const NOWHERE = "/nonexistent/berth.sock";

describe("what ctr says when it cannot do something", () => {
  it.each<readonly [line: string, code: number, complaint: RegExp]>([
    [`-a ${NOWHERE} images ls`, 1, /no daemon at \/nonexistent\/berth\.sock: .*berthd running\?/],
    [`--address unix://${NOWHERE} tasks ls`, 1, /no daemon at \/nonexistent\/berth\.sock/],
    ["-a /dev/null version", 1, /connect to \/dev\/null/],
    ["nothing", 3, /no command "nothing" in "ctr"/],
    ["image lst", 3, /no command "lst" in "ctr images": did you mean list\?/],
    ["images pull --discard-unpacked-layers --no-unpack example.org/a/b:1", 1, /nothing is unpacked with --no-unpack/],
    ["--nothing images ls", 1, /flag provided but not defined: -nothing/],
    ["images ls --nothing", 1, /flag provided but not defined: -nothing \(see ctr images list --help\)/],
    ["run --memory-limit many i c", 1, /invalid value "many" for flag -memory-limit/],
    ["run --memory-limit", 1, /flag needs an argument: -memory-limit/],
    ["run --tty=perhaps i c", 1, /invalid value "perhaps" for flag -tty/],
    ["--timeout soon images ls", 1, /invalid value "soon" for flag -timeout/],
    ["run", 1, /image ref must be provided/],
    ["run image", 1, /container id must be provided/],
    ["run --rm -d image id", 1, /cannot be specified together/],
    ["run --config x y z", 1, /only container id should be provided/],
    ["containers create --pid-file p image id", 1, /--pid-file is not supported: /],
    ["images convert --nydus a b", 1, /--nydus is not supported: /],
    ["images mount --user me:word a b", 1, /--user is not supported: /],
    ["tasks exec id command", 1, /Required flag "exec-id" not set/],
    ["tasks exec --exec-id e id", 1, /command must be provided/],
    ["tasks kill -s NOSUCH id", 1, /invalid signal: NOSUCH/],
    ["tasks kill -a --exec-id e id", 1, /exec-id or all/],
    ["tasks metrics --format xml id", 1, /unknown format "xml"/],
    ["images import", 1, /no archive given/],
    ["images import --discard-unpacked-layers --no-unpack x.tar", 1, /nothing is unpacked with --no-unpack/],
    ["images import /nonexistent.tar", 1, /open \/nonexistent\.tar: .*no such file/i],
    ["images import /tmp", 1, /open \/tmp: .*directory/],
    ["content get nonsense", 1, /invalid digest "nonsense"/],
    ["-n bad@name images ls", 1, /namespace "bad@name"/],
  ])("ctr %s", async (line, code, complaint) => {
    const address = line.includes("-a ") || line.includes("--address") ? [] : ["--address", NOWHERE];
    const result = await runProgram(launcher("ctr"), [...address, ...line.split(" ")]);
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(/^ctr: [^\n]+\n$/);
    expect(result.stderr).toMatch(complaint);
  });

  it.each([
    ["C0", "/x\u001B[2K\r\u0007ok", String.raw`/x\u001b[2K\u000d\u0007ok`],
    ["C1 and DEL", "/x\u009B2K\u007Fok", String.raw`/x\u009b2K\u007fok`],
    ["directions", "/x\u202Eok\u2066", String.raw`/x\u202eok\u2066`],
  ])("tells of %s by their numbers", async (_what, path, expected) => {
    const { code, stderr } = await runProgram(launcher("ctr"), ["images", "import", path]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(expected) });
    // Nothing but what can be seen.
    expect(stderr).toMatch(/^[\x20-\x7e]+\n$/);
  });

  it("takes address and namespace from the environment", async () => {
    const env = { CONTAINERD_ADDRESS: "/nonexistent/other.sock", CONTAINERD_NAMESPACE: "bad@name" };
    expect((await runProgram(launcher("ctr"), ["images", "ls"], { env })).stderr).toContain('"bad@name"');
    expect((await runProgram(launcher("ctr"), ["-n", "good", "images", "ls"], { env })).stderr).toContain("other.sock");
  });

  it("needs no daemon for help, version and oci spec", async () => {
    const env = { CONTAINERD_ADDRESS: NOWHERE };
    expect(existsSync(NOWHERE)).toBe(false);
    for (const line of ["", "--help", "-h", "help", "--version", "images", "images --help", "run --help", "oci spec"]) {
      const { code, stdout, stderr } = await runProgram(launcher("ctr"), line.split(" ").filter(Boolean), { env });
      expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: "" });
      expect(stdout).not.toBe("");
    }
  });
});
