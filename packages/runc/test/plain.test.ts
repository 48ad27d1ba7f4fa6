import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { cgroupOf } from "@berth/linux/cgroups";
import { debianTool, newerTool, runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { deletePlain } from "../src/runc-state.ts";
import { runcOptions, TasksFixture } from "./container-fixture.ts";

/** runc 1.4 leaves out whatever is empty. */
function withoutUnset(text: string): string {
  const unset = new Set<unknown>([null, false, ""]);
  const keep = (key: string, value: unknown): unknown => (key !== "" && unset.has(value) ? undefined : value);
  const state = JSON.parse(text, keep);
  if (Object.keys(state.config.Hooks ?? {}).length === 0) delete state.config.Hooks;
  return JSON.stringify(state);
}

/** Whether a container was started and deleted by runc or without it is seen by what runc's log says of its commands. */
describe.each([
  ["1.1", debianTool("runc")],
  ["1.3", newerTool("runc")],
])("plain containers need no process of runc %s to start and to end", { timeout: 60_000 }, (_version, runc) => {
  const options = runcOptions({ binaryName: runc });
  let fixture: TasksFixture;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());
  const stateOf = (id: string): string => join(fixture.directory, "runc", "test", id);
  const runcSays = async (id: string): Promise<unknown> =>
    JSON.parse((await runProgram(runc, ["--root", join(fixture.directory, "runc", "test"), "state", id])).stdout);

  it("runc itself sees them created, running and gone; their cgroups go, those that they made below too", async () => {
    await fixture.create("p", { args: ["sleep", "1000"] }, { options });
    expect(await runcSays("p")).toMatchObject({ status: "created" });
    const { pid = 0 } = await fixture.call("start", "p");
    expect(await runcSays("p")).toMatchObject({ status: "running", pid });
    expect(existsSync(join(stateOf("p"), "exec.fifo"))).toBe(false);
    const cgroups = [...new Set(cgroupOf(pid).directories.values())];
    mkdirSync(join(cgroups[0] ?? "", "below"));
    await fixture.remove("p");
    expect(existsSync(stateOf("p"))).toBe(false);
    expect(cgroups.filter((path) => existsSync(path))).toEqual([]);
  });

  it.each([
    ["poststop", true],
    ["prestart", false],
  ])("runc deletes those with %s hooks: %s", async (kind) => {
    const id = `hook-${kind}`;
    const bundle = fixture.bundle(id, { args: ["true"] });
    const marker = join(bundle, "marker");
    const file = join(bundle, "config.json");
    const hook = join(bundle, "hook.sh");
    writeFileSync(hook, `#!/bin/sh\necho ran >> ${marker}\n`, { mode: 0o755 });
    await fixture.create(id, { args: ["true"], hooks: { [kind]: [{ path: hook }] } }, { options });
    expect(readFileSync(file, "utf8")).toContain(hook);
    await fixture.call("start", id);
    await fixture.call("wait", id);
    await fixture.call("delete", id);
    expect(readFileSync(marker, "utf8")).toBe("ran\n");
    expect(existsSync(stateOf(id))).toBe(false);
  });

  it("a second start fails, and a start of what was killed meanwhile", async () => {
    await fixture.create("dead", { args: ["sleep", "1000"] }, { options });
    const { pid } = await fixture.call("state", "dead");
    process.kill(pid ?? 0, "SIGKILL");
    await expect(fixture.call("start", "dead")).rejects.toThrow();
    await fixture.call("wait", "dead");
    await fixture.call("delete", "dead");
    expect(readdirSync(join(fixture.directory, "runc", "test"))).toEqual([]);
  });

  it.each([
    ["as it is", (text: string) => text, true],
    ["no JSON", () => "{", false],
    ["of another id", (text: string) => text.replace('"id":"odd"', '"id":"other"'), false],
    ["of another process", (text: string) => text.replace(/"init_process_pid":\d+/, '"init_process_pid":1'), false],
    ["with a whole hierarchy", (text: string) => text.replaceAll(/(cgroup\/[\w=]+)\/[^"]*"/g, '$1"'), false],
    ["with cgroups elsewhere", (text: string) => text.replaceAll("/sys/fs/cgroup/", "/tmp/x/"), false],
    ["with a way up", (text: string) => text.replaceAll("/berth-test", "/../../../tmp"), false],
    [
      "of systemd",
      (text: string) => text.replace('"cgroups":{', '"cgroups":{"Systemd":true,').replace('"Systemd":false,', ""),
      false,
    ],
    [
      "of cgroups that are not named",
      (text: string) => text.replace('"Systemd":false,', "").replace(/"path":"[^"]*berth-test[^"]*",?/, ""),
      false,
    ],
    ["with RDT", (text: string) => text.replace('"intel_rdt_path":""', '"intel_rdt_path":"/x"'), false],
    [
      "with RDT as 1.4 has it",
      (text: string) => text.replace('"intel_rdt_path":""', '"intel_rdt_mon_path":"/x"'),
      false,
    ],
    ["of a rootless runc", (text: string) => text.replace('"rootless":false', '"rootless":true'), false],
    ["without what is not set, as 1.4 writes it", withoutUnset, true],
    ["of a shared pid namespace", (text: string) => text.replaceAll("NEWPID", "NEWXXX"), false],
  ])("a state %s", async (_, change, isPlain) => {
    await fixture.create("odd", { args: ["sleep", "1000"] }, { options });
    const { pid: initPid = 0 } = await fixture.call("state", "odd");
    await fixture.kill("odd");
    await fixture.call("wait", "odd");
    const root = join(fixture.directory, "elsewhere");
    mkdirSync(join(root, "odd"), { recursive: true });
    writeFileSync(join(root, "odd", "state.json"), change(readFileSync(join(stateOf("odd"), "state.json"), "utf8")));
    expect(await deletePlain({ root, id: "odd", initPid })).toBe(isPlain);
    expect(existsSync(join(root, "odd", "state.json"))).toBe(!isPlain);
    await fixture.call("delete", "odd");
  });
});
