import { spawn } from "node:child_process";
import { once } from "node:events";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

type Item = Readonly<Record<string, unknown>>;

describe.each(["berthd", "containerd"] as const)("--format json on %s", (kind) => {
  let bench: Bench;

  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const list = async (...args: readonly string[]): Promise<readonly Item[]> => {
    // What stands in it is what each test asserts.
    return JSON.parse(await say(...args)) as readonly Item[];
  };

  beforeAll(async () => {
    bench = await startBench(kind);
    await say("run", "-d", "--null-io", "--label", "a=b", BUSYBOX_IMAGE, "one", "sleep", "1000");
  });

  afterAll(async () => {
    await bench.ctr(["tasks", "rm", "-f", "one"]);
    await bench[Symbol.asyncDispose]();
  });

  it("names the members of an image and a blob as their protobuf JSON does", async () => {
    const [image, ...others] = await list("images", "ls", "--format", "json");
    expect(others).toEqual([]);
    expect(image).toMatchObject({
      name: BUSYBOX_IMAGE,
      target: { digest: expect.stringMatching(/^sha256:/), size: expect.stringMatching(/^\d+$/) },
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    });
    const blobs = await list("content", "ls", "--format=json");
    expect(image?.["target"]).toMatchObject({ size: blobs.find(isIn(image?.["target"]))?.["size"] });
    expect((await list("images", "check", "--format", "json"))[0]).toMatchObject({
      name: BUSYBOX_IMAGE,
      status: "complete",
      unpacked: true,
    });
  });

  it("shows a container with its spec, its task and its processes", async () => {
    const [container] = await list("containers", "ls", "--format", "json");
    expect(container).toMatchObject({
      id: "one",
      labels: { a: "b" },
      snapshotKey: "one",
      runtime: { name: "io.containerd.runc.v2" },
      spec: { value: { process: { args: ["sleep", "1000"] } } },
    });
    const [task] = await list("tasks", "ls", "--format", "json");
    expect(task).toMatchObject({ id: "one", status: "RUNNING", pid: expect.any(Number) });
    expect(await list("tasks", "ps", "--format", "json", "one")).toMatchObject([{ pid: task?.["pid"] }]);
    const snapshots = await list("snapshots", "ls", "--format", "json");
    const parent = String(snapshots.find((snapshot) => snapshot["name"] === "one")?.["parent"]);
    expect(snapshots.find((snapshot) => snapshot["name"] === parent)).toMatchObject({ kind: "COMMITTED" });
    const [usage] = await list("snapshots", "usage", "--format", "json", parent);
    expect(usage).toEqual({
      key: parent,
      size: expect.stringMatching(/^\d+$/),
      inodes: expect.stringMatching(/^\d+$/),
    });
  });

  it.each([[["leases", "ls"]], [["content", "active"]], [["deprecations", "list"]]])(
    "prints an empty array for nothing: %j",
    async (line) => {
      expect(await list(...line, "--format", "json")).toEqual([]);
    },
  );

  it("lists leases, namespaces and plugins", async () => {
    await say("leases", "create", "--id", "mine", "x=y");
    expect(await list("leases", "ls", "--format", "json")).toMatchObject([{ id: "mine", labels: { x: "y" } }]);
    await say("leases", "rm", "mine");
    expect(await list("ns", "ls", "--format", "json")).toContainEqual({ name: "default" });
    expect(await list("plugins", "ls", "--format", "json", "id==overlayfs")).toMatchObject([
      { type: "io.containerd.snapshotter.v1", id: "overlayfs", platforms: [{ os: "linux" }] },
    ]);
  });

  it("prints an event on each line", async () => {
    const [program, ...rest] = bench.command(["events", "--format", "json", 'topic=="/images/create"']);
    const child = spawn(program, rest, { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const output = once(child.stdout, "data");
      // The protocol does not tell when a subscription has begun.
      const again = setInterval(
        () => void bench.ctr(["images", "tag", "--force", BUSYBOX_IMAGE, `e.org/a:${Date.now()}`]),
        500,
      );
      const [chunk] = await output.finally(() => clearInterval(again));
      const [line = ""] = String(chunk).split("\n");
      expect(JSON.parse(line)).toMatchObject({
        namespace: "default",
        topic: "/images/create",
        timestamp: expect.stringMatching(/Z$/),
        event: { "@type": expect.stringContaining("ImageCreate"), name: expect.stringContaining("e.org/a:") },
      });
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("prints the table for --format table, names for -q whatever the format, and refuses others", async () => {
    expect(await say("containers", "ls", "--format", "table")).toBe(await say("containers", "ls"));
    expect(await say("containers", "ls", "-q", "--format", "json")).toBe("one\n");
    expect(await bench.ctr(["containers", "ls", "--format", "yaml"])).toMatchObject({ code: 1, stdout: "" });
  });
});

/** Finds the blob that a descriptor in JSON means. */
function isIn(descriptor: unknown) {
  return ({ digest }: Item): boolean => JSON.stringify(descriptor).includes(JSON.stringify(digest));
}
