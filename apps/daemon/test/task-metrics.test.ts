import { createServer } from "node:net";

import { cgroupMode } from "@berth/linux/cgroups";
import type { PeerDaemon } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, startBerthd, startContainerd } from "@berth/testing";
import { expect, it } from "vitest";

async function freePort(): Promise<number> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<number>();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    resolve(typeof address === "object" && address !== null ? address.port : 0);
  });
  const port = await promise;
  await new Promise((done) => server.close(done));
  return port;
}

interface Page {
  readonly text: string;
  /** Names with the labels that they have, of metrics of tasks, sorted. */
  readonly shapes: readonly string[];
}

async function readPage(port: number): Promise<Page> {
  const text = await (await fetch(`http://127.0.0.1:${port}/v1/metrics`)).text();
  const samples = text.split("\n").filter((line) => line.startsWith("container_"));
  const shapes = samples.map((line) => {
    const [, name = "", labels = ""] = /^(\w+)\{(.*)\} /.exec(line) ?? [];
    const keys = [...labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)].map(([, key]) => key);
    // Containerd 1 named the plugin behind a task; version 2 does not.
    return `${name} ${keys
      .filter((key) => key !== "runtime")
      .toSorted()
      .join(",")}`;
  });
  return { text, shapes: [...new Set(shapes)].toSorted() };
}

async function runSleeper(daemon: PeerDaemon, id: string): Promise<void> {
  await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
  const { stderr, code } = await daemon.ctr(["run", "-d", BUSYBOX_IMAGE, id, "sh", "-c", "sleep 1000"]);
  expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
}

const withPage = (port: number): string => `[metrics]\n  address = "127.0.0.1:${port}"\n`;

it("shows the metrics of tasks under the names and labels of Debian's containerd", { timeout: 120_000 }, async () => {
  const [port, peerPort] = [await freePort(), await freePort()];
  await using daemon = await startBerthd({ config: withPage(port) });
  await using peer = await startContainerd({ config: withPage(peerPort) });
  await runSleeper(daemon, "metered");
  await runSleeper(peer, "metered-by-peer");
  const expected = (await readPage(peerPort)).shapes;
  expect(expected.length).toBeGreaterThan(20);
  const { text, shapes } = await readPage(port);
  expect(shapes).toEqual(expected);
  const usage = cgroupMode() === "unified" ? "memory_usage_bytes" : "memory_usage_usage_bytes";
  const value = new RegExp(`^container_${usage}\\{container_id="metered",namespace="default"\\} (\\d+)$`, "m").exec(
    text,
  )?.[1];
  expect(Number(value)).toBeGreaterThan(10_000);
  expect(text).toMatch(/^container_pids_current\{container_id="metered",namespace="default"\} [1-9]\d*$/m);
  await daemon.ctr(["task", "rm", "-f", "metered"]);
  await expect.poll(async () => (await readPage(port)).shapes).toEqual([]);
});

it("shows none with no_prometheus", { timeout: 120_000 }, async () => {
  const port = await freePort();
  const config = `[plugins."io.containerd.monitor.task.v1.cgroups"]\n  no_prometheus = true\n${withPage(port)}`;
  await using daemon = await startBerthd({ config });
  await runSleeper(daemon, "unmetered");
  const { text, shapes } = await readPage(port);
  expect(shapes).toEqual([]);
  expect(text).toContain("grpc_server_started_total");
});
