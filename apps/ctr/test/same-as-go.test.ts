import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

/** Rows of output that both programs must print alike, with the exit code. `%` is the digest of the image's manifest. */
const SAME: readonly string[] = [
  "plugins list",
  "plugins ls -q",
  "plugin ls --detailed",
  "plugins list --detailed id==btrfs",
  "plugins ls -d type~=snapshotter id==content",
  "containers ls",
  "c list -q",
  "container ls image~=busybox",
  "content ls",
  "content list --quiet",
  "content ls size>300",
  "content active",
  "content get %",
  "images ls",
  "image list -q",
  "i ls name==nothing",
  "images check",
  "images check -q",
  "leases ls",
  "leases list -q",
  "namespaces ls",
  "ns list --quiet",
  "namespace ls -q",
  "snapshots ls",
  "snapshot list",
  "snapshots --snapshotter native ls",
  "snapshots --snapshotter=native tree",
  "snapshots tree",
  "snapshots info sleeper",
  "snapshots usage -b sleeper",
  "snapshots mounts /mnt sleeper",
  "snapshots diff --media-type application/vnd.oci.image.layer.v1.tar sleeper",
  "snapshot diff sleeper sleeper",
  "tasks ls",
  "t ls -q",
  "task ps sleeper",
  "-n other images ls",
  "--namespace=other tasks ls",
  // What fails fails with the same code.
  "nothing",
  "images nothing",
  "run",
  "run no/such:image id",
  "c info nothing",
  "c rm nothing",
  "c rm sleeper",
  "tasks kill nothing",
  "tasks kill -s NOSUCH sleeper",
  "tasks rm sleeper",
  "tasks exec --exec-id x sleeper nosuch",
  "tasks attach nothing",
  "images tag nothing other",
  "images rm nothing",
  "snapshots info nothing",
  "snapshots diff",
  "snapshots diff nothing",
  "snapshots diff --media-type no/such sleeper",
  "snapshots rm nothing",
  "content get sha256:00",
  "content rm nothing",
  "namespaces create default",
  "namespaces rm nothing",
  "leases rm nothing",
  "-n bad@name c ls",
];

describe.each([
  ["berthd", "2"],
  ["containerd", "1.6"],
] as const)("on %s, as Go's ctr %s", (kind, release) => {
  let bench: Bench;
  let digest = "";

  beforeAll(async () => {
    bench = await startBench(kind, { release });
    const { stdout, code, stderr } = await bench.ctr(["run", "-d", BUSYBOX_IMAGE, "sleeper", "sleep", "1000"]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "", stderr: "" });
    digest = (await bench.ctr(["images", "ls"])).stdout.match(/sha256:[0-9a-f]{64}/)?.[0] ?? "";
  }, 60_000);

  afterAll(async () => {
    await bench.ctr(["tasks", "rm", "-f", "sleeper"]);
    await bench.ctr(["containers", "rm", "sleeper"]);
    await bench[Symbol.asyncDispose]();
  });

  it.each(SAME)("ctr %s", async (line) => {
    const args = line.replace("%", digest).split(" ");
    const go = await bench.daemon.ctr(args);
    const own = await bench.ctr(args);
    expect(own.code).toBe(go.code);
    // Both complain or neither does; how is each one's own affair.
    expect(own.stderr === "").toBe(go.stderr === "");
    if (go.code === 0) expect(comparable(own.stdout)).toBe(comparable(go.stdout));
  });
});

/** Go prints labels and exports in no order, and times to the nanosecond; an age may change between two calls. */
function comparable(output: string): string {
  const lines = output
    .replace(/\t(\d+|Less than a|About a) (second|minute)s?\t/g, "\tAGE\t")
    .replace(
      /:(\d\d)\.(\d{1,3})\d*Z/g,
      (_, seconds: string, fraction: string) => `:${seconds}.${fraction.padEnd(3, "0")}Z`,
    )
    .replaceAll(".000Z", "Z")
    .split("\n")
    .map((line) => line.replace(/\S+=\S+,\S+/, (labels) => labels.split(",").toSorted().join(",")));
  return (output.startsWith("Type:") ? lines.toSorted() : lines).join("\n");
}
