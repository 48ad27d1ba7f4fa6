import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { sha256 } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

describe.each(["berthd", "containerd"] as const)("commands on %s", (kind) => {
  let bench: Bench;

  /** The output of a command that must succeed. */
  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);

  beforeAll(async () => {
    bench = await startBench(kind);
  });

  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
  });

  it("namespaces are created, labelled, listed and removed", async () => {
    await say("namespaces", "create", "team", "a=b", "c=d");
    await say("ns", "label", "team", "a=", "e=f");
    expect(await say("ns", "ls")).toMatch(/^team +c=d,e=f $/m);
    expect(await say("ns", "rm", "team")).toBe("team\n");
    expect(await say("ns", "ls", "-q")).not.toContain("team");
  });

  it("leases are created, listed and removed", async () => {
    expect(await say("leases", "create", "--id", "mine", "-x", "1h", "a=b")).toBe("mine\n");
    expect(await say("leases", "ls")).toMatch(
      /^mine \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ a=b,containerd.io\/gc.expire=\S+ $/m,
    );
    const made = (await say("leases", "create", "--expires=0")).trim();
    expect((await say("leases", "ls", "-q")).split("\n")).toEqual(expect.arrayContaining(["mine", made]));
    expect(await say("leases", "rm", "--sync", "mine", made)).toBe(`mine\n${made}\n`);
    expect(await say("leases", "ls", "-q")).toBe("");
  });

  it("images are tagged, labelled and removed", async () => {
    expect(await say("images", "tag", BUSYBOX_IMAGE, "example.org/a:1", "example.org/b:1")).toBe(
      "example.org/a:1\nexample.org/b:1\n",
    );
    for (const how of [[], ["--local"]]) {
      const { code, stderr } = await bench.ctr(["images", "tag", ...how, BUSYBOX_IMAGE, "example.org/a:1"]);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^ctr: .*a:1.*--force[^\n]*\n$/) });
    }
    const once = ["images", "tag", BUSYBOX_IMAGE, "example.org/once:1"];
    const codes = await Promise.all(Array.from({ length: 6 }, async () => (await bench.ctr(once)).code));
    expect(codes.toSorted()).toEqual([0, 1, 1, 1, 1, 1]);
    await say("images", "rm", "example.org/once:1");
    expect(await say("images", "tag", "--force", BUSYBOX_IMAGE, "example.org/a:1")).toBe("example.org/a:1\n");
    expect(await say("images", "label", "example.org/a:1", "x=y", "z=1")).toBe("x=y,z=1\n");
    expect(await say("images", "label", "-r", "example.org/a:1", "only=this")).toBe("only=this\n");
    expect(await say("images", "rm", "--sync", "example.org/a:1", "example.org/b:1")).toBe(
      "example.org/a:1\nexample.org/b:1\n",
    );
    expect(await say("images", "ls", "-q")).toBe(`${BUSYBOX_IMAGE}\n`);
  });

  it("images are imported from standard input, under other names, without unpacking", async () => {
    const input = await readFile(bench.archive);
    const line = [
      "-n",
      "imports",
      "images",
      "import",
      "--no-unpack",
      "--digests",
      "--index-name",
      "whole",
      "--label",
      "l=m",
      "-",
    ];
    const { code, stdout } = await bench.ctr(line, { input });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^whole\n/);
    expect(await say("-n", "imports", "images", "ls")).toMatch(new RegExp(`^${BUSYBOX_IMAGE} .*\\bl=m +$`, "m"));
    expect(await say("-n", "imports", "images", "ls", "-q")).toMatch(/@sha256:/);
    expect(await say("-n", "imports", "images", "check", `name==${BUSYBOX_IMAGE}`)).toMatch(
      / complete \(2\/2\) .* false$/m,
    );
    const digest = /sha256:\S+/.exec(await say("-n", "imports", "images", "ls", `name==${BUSYBOX_IMAGE}`))?.[0] ?? "";
    expect(await say("-n", "imports", "snapshots", "unpack", digest)).toMatch(
      /^unpacking \S+ \(sha256:\S+\)\.\.\.done\n$/,
    );
    expect(await say("-n", "imports", "images", "check", `name==${BUSYBOX_IMAGE}`)).toMatch(/ true$/m);
  });

  it("content is ingested, shown, labelled and deleted", async () => {
    const input = new TextEncoder().encode("some content");
    const digest = sha256(input);
    // Nothing refers to it, so that the collector may come between the two commands.
    let pinned = 1;
    for (let tries = 0; tries < 10 && pinned !== 0; tries += 1) {
      await bench.ctr(["content", "ingest", "--expected-digest", digest, "--expected-size", "12", "key"], { input });
      pinned = (await bench.ctr(["content", "label", digest, "containerd.io/gc.root=test"])).code;
    }
    expect(await say("content", "get", digest)).toBe("some content");
    expect(await say("content", "label", digest, "a=b", "c=d")).toBe("a=b,c=d,containerd.io/gc.root=test\n");
    expect(await say("content", "ls", `digest==${digest}`)).toMatch(/\t12B\t.+\ta=b,c=d,/);
    for (const known of [[], ["--expected-digest", digest]]) {
      expect((await bench.ctr(["content", "ingest", ...known, "again"], { input })).code).toBe(0);
    }
    expect(await say("content", "rm", digest)).toBe(`${digest}\n`);
    const wrong = await bench.ctr(["content", "ingest", "--expected-digest", digest, "key"], { input: "other" });
    expect(wrong.code).toBe(1);
  });

  it("content active shows a write under way", async () => {
    const [program, ...args] = bench.command(["content", "ingest", "slow"]);
    const child = spawn(program, args, { stdio: ["pipe", "ignore", "ignore"] });
    child.stdin.write("12345");
    let listed = "";
    for (let tries = 0; tries < 50 && !listed.includes("\t5B\t"); tries += 1) {
      listed = await say("content", "active", "^slow$");
      await sleep(20);
    }
    expect(listed).toMatch(/^slow\t5B\t/m);
    expect(await say("content", "active", "other")).toMatch(/^REF\s+SIZE\s+AGE\s+$/);
    child.stdin.end();
    expect(await once(child, "close")).toEqual([0, null]);
  });

  it("snapshots are prepared, committed, viewed, labelled, measured and removed", async () => {
    const parent = /sha256:\S+/.exec(await say("snapshots", "ls"))?.[0] ?? "";
    expect(await say("snapshots", "prepare", "-t", "/mnt", "work", parent)).toMatch(
      /^mount -t overlay overlay \/mnt -o /,
    );
    expect(JSON.parse(await say("snapshots", "prepare", "--mounts", "bare"))).toMatchObject([{ Type: "bind" }]);
    await say("snapshots", "commit", "layer", "work");
    await say("snapshots", "view", "look", "layer");
    expect(await say("snapshots", "label", "layer", "a=b")).toMatch(/^a=b,containerd.io\/gc.root=\S+\n$/);
    expect(await say("snapshots", "tree")).toContain(` ${parent}\n  \\_ layer\n    \\_ look\n`);
    expect(JSON.parse(await say("snapshots", "info", "look"))).toMatchObject({ Kind: "View", Parent: "layer" });
    expect(await say("snapshots", "usage")).toMatch(/^layer +\d+\.\d (Ki)?B +\d+ +$/m);
    expect((await bench.ctr(["snapshots", "rm", "layer"])).code).toBe(1);
    // Each failure is told once, and spares nothing.
    const { code, stderr } = await bench.ctr([
      "snapshots",
      "rm",
      "none-a",
      "look",
      "none-b",
      "layer",
      "bare",
      "none-c",
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ctr: [^\n]*none-a[^\n]*\nctr: [^\n]*none-b[^\n]*\nctr: [^\n]*none-c[^\n]*\n$/);
    expect(await say("snapshots", "ls")).not.toMatch(/^(look|layer|bare) /m);
  });

  it("tasks are paused, resumed, measured and killed; containers labelled; events told", async () => {
    const id = `manage-${kind}-${process.pid}`;
    const [program, ...args] = bench.command(["events"]);
    const events = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    let told = "";
    events.stdout.on("data", (chunk: Buffer) => (told += chunk.toString()));
    // The daemon does not say when a subscription has begun.
    for (let tries = 0; tries < 50 && told === ""; tries += 1) {
      await say("ns", "create", `probe-${tries}`);
      await sleep(50);
    }
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, id, "sh", "-c", "sleep 1000");
    expect(await say("containers", "label", id, "a=b")).toMatch(/^a=b,/);
    await say("tasks", "pause", id);
    expect(await say("tasks", "ls")).toMatch(new RegExp(`^${id} +\\d+ +PAUSED$`, "m"));
    await say("tasks", "resume", id);
    expect(await say("tasks", "metrics", id)).toMatch(/^pids.current +\d+ +$/m);
    expect(JSON.parse(await say("tasks", "metrics", "--format", "json", id))).toHaveProperty("pids");
    expect(await say("tasks", "ps", id)).toMatch(/^PID +INFO\n\d+ +-\n/);
    await say("tasks", "kill", "-s", "KILL", id);
    const removed = await bench.ctr(["tasks", "rm", "-f", id]);
    expect(removed).toMatchObject({ code: 0, stderr: expect.stringContaining("137") });
    await say("containers", "rm", id);
    events.kill("SIGTERM");
    await once(events, "close");
    const line = told.split("\n").find((text) => text.includes(" /tasks/start ")) ?? "";
    expect(line).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC default \/tasks\/start \{"container_id":"[^"]+","pid":\d+\}$/,
    );
  });

  it("the daemon tells of itself", async () => {
    const { stdout } = await bench.ctr(["version"]);
    expect(stdout).toMatch(
      /^Client:\n {2}Version: {2}\S+\n {2}Revision: .*\n.*\n\nServer:\n {2}Version: {2}\S+\n {2}Revision: .*\n {2}UUID: \S+\n$/,
    );
    expect(JSON.parse(await say("info"))).toMatchObject({ server: { uuid: expect.any(String) } });
    expect(await say("deprecations", "list")).toBe("");
    expect(JSON.parse(await say("oci", "spec"))).toMatchObject({ linux: { cgroupsPath: "/default" } });
  });
});
