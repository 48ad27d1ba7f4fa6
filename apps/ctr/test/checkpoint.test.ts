import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";

import { createClient } from "@berth/client";
import { criuPrograms, debianTool, newerTool, runProgram, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 90_000 };
const LIMIT = { timeoutMs: 60_000 };
const PATIENTLY = { timeout: 15_000 };
const TYPE = "application/vnd.containerd.container.checkpoint.";
const MEMORY = "application/vnd.containerd.container.criu.checkpoint.criu.tar";

interface Index {
  readonly manifests: readonly { readonly mediaType: string; readonly digest: string }[];
  readonly annotations: Readonly<Record<string, string>>;
}

describe.each(["berthd", "containerd"] as const)("checkpoints, on %s", (kind) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  const origin = `saved-${kind}-${process.pid}`;

  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const fail = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await bench.ctr(args, LIMIT);
    expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: "" });
    expect(stderr).toMatch(/^ctr: [^\n]+\n$/);
    return stderr;
  };
  const read = async (id: string, script: string): Promise<string> => {
    const { code, stdout, stderr } = await bench.ctr(["t", "exec", "--exec-id", "read", id, "sh", "-c", script], LIMIT);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout;
  };
  const indexOf = async (name: string): Promise<Index> => {
    const [row = ""] = (await say("images", "ls", `name==${name}`)).split("\n").slice(1);
    return JSON.parse(await say("content", "get", /sha256:\S+/.exec(row)?.[0] ?? ""));
  };
  const remove = async (id: string): Promise<void> => {
    // It tells of the signal that ended the task.
    expect(await bench.ctr(["tasks", "rm", "-f", id], LIMIT)).toMatchObject({ code: 0 });
    await say("containers", "rm", id);
  };

  beforeAll(async () => {
    const { path } = stack.use(await temporaryDirectory("criu"));
    criuPrograms(path);
    bench = stack.use(await startBench(kind, { path: [path] }));
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, origin, "sleep", "1000");
    await read(origin, "echo made > /made");
  }, 60_000);

  afterAll(async () => {
    await bench.ctr(["tasks", "rm", "-f", origin], LIMIT);
    await bench.ctr(["containers", "rm", origin], LIMIT);
    await stack.disposeAsync();
  });

  it("without a task are those of containerd's ctr, and the spec", TIMEOUT, async () => {
    await say("containers", "checkpoint", "--rw", "--image", origin, "example.org/own:1");
    const go = await bench.daemon.ctr(
      ["containers", "checkpoint", "--rw", "--image", origin, "example.org/go:1"],
      LIMIT,
    );
    expect(go).toMatchObject({ code: 0 });
    const [own, other] = [await indexOf("example.org/own:1"), await indexOf("example.org/go:1")];
    const spec = own.manifests.filter(({ mediaType }) => mediaType === `${TYPE}config.v1+proto`);
    expect(spec).toHaveLength(1);
    const { "io.berth.checkpoint.container": container, ...annotations } = own.annotations;
    expect(container).toBe(`default/${origin}`);
    expect({ ...own, annotations, manifests: own.manifests.filter((each) => !spec.includes(each)) }).toEqual(other);
    expect(own.manifests.map(({ mediaType }) => mediaType)).toContain(`${TYPE}runtime.options+proto`);
    expect(await say("tasks", "ls")).toMatch(new RegExp(`^${origin} +\\d+ +RUNNING`, "m"));
    expect(await fail("containers", "restore", "x", "example.org/go:1")).toMatch(/no spec/);
  });

  it("are restored, with the changed files or without", TIMEOUT, async () => {
    const name = "example.org/restored:1";
    await say("containers", "checkpoint", "--rw", "--image", origin, name);
    await say("containers", "restore", "--rw", "with", name);
    expect(await read("with", "cat /made")).toBe("made\n");
    await say("containers", "restore", "without", name);
    expect(await read("without", "ls / | grep made || echo none")).toBe("none\n");
    const [before, after] = [origin, "with"].map(async (id) => JSON.parse(await say("containers", "info", id)));
    const { Spec, Image, Runtime } = await before;
    // In one cgroup the end of one would be that of both.
    const linux = { ...Spec.linux, cgroupsPath: "/default/with" };
    expect(await after).toMatchObject({ Spec: { ...Spec, linux }, Image, Runtime, SnapshotKey: "with" });
    for (const id of ["with", "without"]) await remove(id);
    expect(await say("tasks", "ls")).toMatch(new RegExp(`^${origin} +\\d+ +RUNNING`, "m"));
  });

  it("are restored by containerd's ctr", TIMEOUT, async () => {
    const name = "example.org/by-go:1";
    // In a cgroup of its own: that ctr puts what it restores into that of the original.
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, "short", "sh", "-c", "echo s > /s; sleep 1000");
    await say("containers", "checkpoint", "--rw", "short", name);
    await remove("short");
    expect(await bench.daemon.ctr(["containers", "restore", "--rw", "by-go", name], LIMIT)).toMatchObject({ code: 0 });
    expect(await read("by-go", "cat /s")).toBe("s\n");
    await remove("by-go");
  });

  it("bring their image along", TIMEOUT, async () => {
    const [name, archive] = ["example.org/moved:1", join(bench.directory.path, "moved.tar")];
    await say("containers", "checkpoint", "--rw", "--image", origin, name);
    await say("images", "export", archive, name);
    await say("-n", "elsewhere", "images", "import", "--no-unpack", "--local", archive);
    // What fails leaves no name behind, neither in the client nor in ctr.
    await say("-n", "elsewhere", "snapshots", "prepare", "taken");
    for (const args of [["taken"], ["--live", "untaken"], ["--live", "--trust", "untaken"]]) {
      const { code } = await bench.ctr(["-n", "elsewhere", "containers", "restore", ...args, name], LIMIT);
      expect(code).toBe(1);
      expect(await say("-n", "elsewhere", "images", "ls", "-q")).toBe(`${name}\n`);
    }
    expect(await say("-n", "elsewhere", "containers", "restore", "--rw", "moved", name)).toMatch(
      new RegExp(`^${BUSYBOX_IMAGE} named: sha256:[0-9a-f]{64}\n$`),
    );
    expect(await say("-n", "elsewhere", "images", "ls", "-q")).toBe(`${BUSYBOX_IMAGE}\n${name}\n`);
    expect(await say("-n", "elsewhere", "t", "exec", "--exec-id", "e", "moved", "cat", "/made")).toBe("made\n");
    await bench.ctr(["-n", "elsewhere", "t", "rm", "-f", "moved"], LIMIT);
  });

  it.each([
    ["1.6", debianTool("ctr")],
    ["2.1", newerTool("ctr")],
  ])("of containers of Go's ctr %s need no trust", TIMEOUT, async (release, program) => {
    const [id, name] = [`go-${release}`, `example.org/of-go-${release}:1`];
    const go = async (...args: readonly string[]): Promise<void> => {
      const result = await runProgram(program, ["--address", bench.daemon.address, ...args], LIMIT);
      expect({ args, ...result }).toMatchObject({ args, code: 0 });
    };
    await go("run", "-d", "--null-io", BUSYBOX_IMAGE, id, "sleep", "1000");
    await go("containers", "checkpoint", "--task", "--image", id, name);
    await say("containers", "restore", "again", name);
    const { Spec } = JSON.parse(await say("containers", "info", "again"));
    // Nothing in it tells of the original's cgroup, which still runs in it.
    expect(Spec.linux.cgroupsPath).toBe("/default/again");
    for (const each of ["again", id]) await remove(each);
  });

  it("without trust have of their spec handed on what was looked at, and no other reading", TIMEOUT, async () => {
    const name = `example.org/read-${kind}:1`;
    await using client = createClient({ address: bench.daemon.address });
    const specOf = async (id: string): Promise<string> =>
      new TextDecoder().decode((await client.containers.get(id)).spec?.value);
    await say("containers", "create", BUSYBOX_IMAGE, "double", "sleep", "1000");
    const { spec = { typeUrl: "", value: new Uint8Array() }, ...container } = await client.containers.get("double");
    // Go would merge them.
    const twice = `{"linux":{"sysctl":{"kernel.core_pattern":"|/x"}},${(await specOf("double")).slice(1)}`;
    const value = new TextEncoder().encode(twice);
    await client.containers.update({ ...container, spec: { ...spec, value } }, { fieldpaths: ["spec"] });
    await say("containers", "checkpoint", "--image", "double", name);
    await say("containers", "restore", "again", name);
    expect(await specOf("double")).toContain("core_pattern");
    expect(await specOf("again")).not.toContain("core_pattern");
    await remove("again");
    await say("containers", "rm", "double");
  });

  // Each of a container of its own: containerd 1.6 refuses to store a spec that it has.
  const runAnother = async (id: string): Promise<void> => {
    // What it remembers is in its memory alone.
    await say(
      "run",
      "-d",
      "--null-io",
      BUSYBOX_IMAGE,
      id,
      "sh",
      "-c",
      "trap 'echo $AGE > /age' USR1; AGE=old; touch /made; while :; do sleep 0.1; done",
    );
    await expect.poll(() => read(id, "ls /made || true"), PATIENTLY).toBe("/made\n");
  };

  it("with a task let it go on, live", TIMEOUT, async () => {
    const name = "example.org/live:1";
    await runAnother("dead");
    await say("containers", "checkpoint", "--task", "--image", "--rw", "dead", name);
    await remove("dead");
    const types = (await indexOf(name)).manifests.map(({ mediaType }) => mediaType);
    expect(types).toEqual([
      `${TYPE}runtime.options+proto`,
      "application/vnd.oci.image.manifest.v1+json",
      "application/vnd.oci.image.layer.v1.tar+gzip",
      MEMORY,
      `${TYPE}config.v1+proto`,
      `${TYPE}options.v1+proto`,
    ]);
    expect(await fail("containers", "restore", "--rw", "--live", "alive", name)).toMatch(/--trust/);
    await say("containers", "restore", "--trust", "--rw", "--live", "alive", name);
    await say("tasks", "kill", "--signal", "USR1", "alive");
    await expect.poll(() => read("alive", "cat /age || true"), PATIENTLY).toBe("old\n");
    await remove("alive");
  });

  it("of a task are images of their own, or directories", TIMEOUT, async () => {
    await runAnother("noted");
    const name = (await say("tasks", "checkpoint", "noted")).trimEnd();
    expect(name).toMatch(/^containerd\.io\/checkpoint\/noted:\d\d-\d\d-\d{4}-\d\d:\d\d:\d\d$/);
    const { manifests, annotations } = await indexOf(name);
    expect(annotations).toEqual({ "image.name": BUSYBOX_IMAGE });
    expect(manifests.map(({ mediaType }) => mediaType)).toEqual([
      MEMORY,
      `${TYPE}config.v1+proto`,
      "application/vnd.oci.image.manifest.v1+json",
      "application/vnd.oci.image.layer.v1.tar+gzip",
    ]);
    expect(await say("images", "ls", `name==${name}`)).toContain("containerd.io/checkpoint=true");
    const images = join(bench.directory.path, "images");
    await mkdir(images);
    expect(await say("tasks", "checkpoint", "--image-path", images, "noted")).toBe("");
    expect(await readdir(images)).toContain("pages-1.img");
    expect(await say("tasks", "ls")).toMatch(/^noted +\d+ +RUNNING/m);
    expect(await say("tasks", "checkpoint", "--exit", "--image-path", images, "noted")).toBe("");
    await expect.poll(() => say("tasks", "ls"), PATIENTLY).toMatch(/^noted +\d+ +STOPPED/m);
    await remove("noted");
  });

  it("of a task whose image has lost its name are refused before it ends", TIMEOUT, async () => {
    const image = `example.org/gone-${kind}:1`;
    await say("images", "tag", BUSYBOX_IMAGE, image);
    await say("run", "-d", "--null-io", image, "kept", "sleep", "1000");
    await say("images", "rm", "--sync", image);
    expect(await fail("tasks", "checkpoint", "--exit", "kept")).toMatch(/gone.*not found/);
    expect(await say("tasks", "ls")).toMatch(/^kept +\d+ +RUNNING/m);
    expect(await fail("containers", "checkpoint", "--task", "kept", BUSYBOX_IMAGE)).toMatch(/exists/);
    await remove("kept");
  });

  it.each([
    ["another state", ["--runc-root", `/tmp/berth-other-${process.pid}`], /root/],
    ["mounts", ["--mount", "type=bind,src=/etc,dst=/host,options=rbind:ro"], /"\/etc" at \/host/],
    ["rights", ["--privileged"], /CAP_SYS_ADMIN/],
    ["the machine's network", ["--net-host"], /network namespace/],
    ["a device", ["--device", "/dev/kmsg"], /\/dev\/kmsg/],
    ["settings for CRIU", ["--annotation", "org.criu.config=/tmp/x"], /org\.criu\.config/],
    ["another runc", ["--runc-binary", debianTool("runc")], /binaryName/],
  ])("with %s need trust", TIMEOUT, async (_what, flags, message) => {
    const name = `example.org/trusted-${kind}:1`;
    await say("containers", "create", ...flags, BUSYBOX_IMAGE, "mighty", "sleep", "1000");
    await say("containers", "checkpoint", "--image", "mighty", name);
    await say("containers", "rm", "mighty");
    expect(await fail("containers", "restore", "again", name)).toMatch(message);
    await say("containers", "restore", "--trust", "again", name);
    await remove("again");
    await say("images", "rm", "--sync", name);
  });

  it.each([
    ["a container that is not there", ["c", "checkpoint", "nothing", "example.org/x:1"], /nothing/],
    ["a task that is not there", ["t", "checkpoint", "nothing"], /nothing/],
    ["a name that is taken", ["c", "checkpoint", "ORIGIN", BUSYBOX_IMAGE], /busybox:1.*exists/],
    ["no name", ["c", "checkpoint", "ORIGIN"], /ref must be provided/],
    ["an image that is none", ["c", "restore", "x", BUSYBOX_IMAGE], /busybox:1.*not a checkpoint/],
    ["an image that is not there", ["c", "restore", "x", "example.org/none:1"], /none:1/],
    ["changed files that were left out", ["c", "restore", "--rw", "x", "example.org/bare:1"], /no changed files/],
    ["a task that was left out", ["c", "restore", "--live", "--trust", "x", "example.org/bare:1"], /no task/],
    ["an id that is taken", ["c", "restore", "ORIGIN", "example.org/bare:1"], /exists/],
  ])("are refused for %s, and leave nothing", TIMEOUT, async (_what, args, message) => {
    await bench.ctr(["c", "checkpoint", origin, "example.org/bare:1"], LIMIT);
    expect(await fail(...args.map((each) => (each === "ORIGIN" ? origin : each)))).toMatch(message);
    expect(await say("containers", "ls", "-q")).toBe(`${origin}\n`);
    expect((await say("snapshots", "ls")).match(/Active/g)).toHaveLength(1);
    expect(await say("tasks", "ls")).toMatch(/RUNNING/);
  });
});

it("a checkpoint of a task says that CRIU is missing where it is", TIMEOUT, async () => {
  await using bench = await startBench("berthd");
  const run = ["run", "-d", "--null-io", BUSYBOX_IMAGE, "plain", "sleep", "1000"];
  expect(await bench.ctr(run, LIMIT)).toMatchObject({ code: 0 });
  for (const args of [
    ["c", "checkpoint", "--task", "plain", "example.org/x:1"],
    ["t", "checkpoint", "plain"],
  ]) {
    const { code, stderr } = await bench.ctr(args, LIMIT);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^ctr: [^\n]*plain[^\n]*criu[^\n]*\n$/i),
    });
  }
  expect(await bench.ctr(["t", "ls"], LIMIT)).toMatchObject({ stdout: expect.stringMatching(/plain +\d+ +RUNNING/) });
});
