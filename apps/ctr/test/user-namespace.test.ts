import { chmod, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { buildImage, debianTool, newerTool, runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const LIMIT = { timeoutMs: 60_000 };
const MAPS = ["--uidmap", "0:200000:65536", "--gidmap", "0:300000:65536"];
const LOOK =
  "id -u; id -g; cat /proc/self/uid_map; stat -c '%u:%g %a %n' / /bin /bin/busybox /etc/passwd; touch /new && stat -c '%u:%g' /new";

describe.each(["berthd", "containerd"] as const)("a user namespace on %s", { timeout: 120_000 }, (kind) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await startBench(kind);
    // The root of the namespace has to reach what it is to run.
    await chmod(dirname(bench.daemon.state), 0o711);
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const theirs = (...args: readonly string[]) =>
    runProgram(newerTool("ctr"), ["--address", bench.daemon.address, ...args], LIMIT);
  const line = (id: string, flags: readonly string[], ...command: readonly string[]): readonly string[] => [
    "run",
    "--fifo-dir",
    join(bench.directory.path, "fifo"),
    ...flags,
    BUSYBOX_IMAGE,
    id,
    ...command,
  ];

  it.each([[MAPS], [[...MAPS, "--remap-labels"]]])("has the owners that Go's ctr gives with %j", async (flags) => {
    const id = `userns-${kind}-${flags.length}`;
    const own = await bench.ctr(line(id, ["--rm", ...flags], "sh", "-c", LOOK), LIMIT);
    expect(own).toMatchObject({ code: 0, stderr: "" });
    expect(own.stdout).toMatch(/^0\n0\n +0 +200000 +65536\n0:0 /);
    const other = await theirs(...line(id, ["--rm", ...flags], "sh", "-c", LOOK));
    expect(other).toEqual(own);
  });

  it("has the owners of a file with two names, as Go's ctr gives them", async () => {
    const [image, archive] = ["example.org/berth/names:1", join(bench.directory.path, "names.tar")];
    await writeFile(archive, await imageWithTwoNames(image));
    await bench.say("images", "import", archive);
    const look = (id: string, base: number): readonly string[] => {
      const maps = ["--uidmap", `0:${base}:65536`, "--gidmap", `0:${base}:65536`];
      const flags = ["--rm", "--fifo-dir", join(bench.directory.path, "fifo"), ...maps];
      return ["run", ...flags, image, id, "stat", "-c", "%u:%g %n", "/bin/busybox", "/bin/second"];
    };
    const owners = "0:0 /bin/busybox\n0:0 /bin/second\n";
    expect(await bench.ctr(look(`userns-${kind}-c`, 400_000), LIMIT)).toEqual({ code: 0, stdout: owners, stderr: "" });
    // With other ids, so that it makes a snapshot of its own.
    expect(await theirs(...look(`userns-${kind}-d`, 500_000))).toEqual({ code: 0, stdout: owners, stderr: "" });
  });

  it("has the spec that Go's ctr gives, and snapshots that both use", async () => {
    const ids = [`userns-${kind}-a`, `userns-${kind}-b`] as const;
    await bench.say(...line(ids[0], ["-d", ...MAPS], "sleep", "1000"));
    const snapshots = await bench.say("snapshots", "ls");
    expect(await theirs(...line(ids[1], ["-d", ...MAPS], "sleep", "1000"))).toMatchObject({ code: 0 });
    const specs = await Promise.all(
      ids.map(async (id) => {
        // The document is the one that the command promises.
        const { Spec } = JSON.parse(await bench.say("containers", "info", id)) as {
          readonly Spec: { readonly linux: Readonly<Record<string, unknown>> };
        };
        const { uidMappings, gidMappings, namespaces } = Spec.linux;
        return { uidMappings, gidMappings, namespaces };
      }),
    );
    expect(specs[0]).toEqual(specs[1]);
    expect(specs[0]?.uidMappings).toEqual([{ containerID: 0, hostID: 200_000, size: 65_536 }]);
    // Theirs made one for its container and used the other that was there.
    expect((await bench.say("snapshots", "ls")).split("\n").length).toBe(snapshots.split("\n").length + 1);
    for (const id of ids) await bench.ctr(["tasks", "rm", "-f", id], LIMIT);
    await bench.say("containers", "rm", ...ids);
  });

  it("needs mappings that make sense", async () => {
    const refused = async (...flags: readonly string[]) => await bench.fail(...line("userns-bad", flags, "true"));
    expect(await refused("--uidmap", "0:1:1")).toContain("--gidmap");
    expect(await refused("--uidmap", "0:1", "--gidmap", "0:1:1")).toContain("0:1");
    expect(await refused("--uidmap", "0:1:4294967295", "--gidmap", "0:1:1:1")).toContain("0:1:");
    expect(await refused("--uidmap", "1:1:5", "--gidmap", "0:1:1")).toContain("user 0");
    expect(await refused("--remap-labels")).toContain("--uidmap");
    expect(await bench.say("containers", "ls", "-q")).toBe("");
  });
});

async function imageWithTwoNames(name: string): Promise<Uint8Array> {
  const busybox = await readFile(debianTool("busybox"));
  const directories = ["bin/", "dev/", "proc/", "run/", "sys/"].map((path) => ({
    path,
    type: "directory" as const,
    mode: 0o755,
  }));
  const { archive } = await buildImage({
    name,
    layers: [
      [
        ...directories,
        { path: "bin/busybox", type: "file", mode: 0o755, size: busybox.length, content: busybox },
        { path: "bin/second", type: "link", mode: 0o755, linkPath: "bin/busybox" },
        { path: "bin/stat", type: "symlink", linkPath: "busybox" },
      ],
    ],
    config: { Env: ["PATH=/bin"] },
  });
  return archive;
}
