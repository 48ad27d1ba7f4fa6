import { Containers } from "@berth/api/containerd/services/containers/v1/containers";
import { Events } from "@berth/api/containerd/services/events/v1/events";
import { Leases } from "@berth/api/containerd/services/leases/v1/leases";
import { createUnixTransport } from "@berth/client/transport";
import { runNriPlugin } from "@berth/nri/stub";
import type { PeerDaemon } from "@berth/testing";
import { startBerthd } from "@berth/testing";
import { createClient } from "@connectrpc/connect";
import { expect, it } from "vitest";

/** The page of a daemon that listens on port 0, as values by name and labels, with what it says of types. */
async function pageOf(daemon: PeerDaemon): Promise<ReadonlyMap<string, string>> {
  const find = async (): Promise<string> =>
    /v1\.metrics address="?(127\.0\.0\.1:\d+)/.exec(await daemon.log())?.[1] ?? "";
  await expect.poll(find, { timeout: 10_000 }).not.toBe("");
  const response = await fetch(`http://${await find()}/v1/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toContain("version=0.0.4");
  const lines = (await response.text()).split("\n").filter((line) => line !== "" && !line.startsWith("# HELP"));
  // Each line is of the form that Prometheus reads.
  const form = /^(# TYPE [a-zA-Z_:][\w:]* (counter|gauge|histogram)|[a-zA-Z_:][\w:]*(\{[^}]*\})? [-+.\deE]+(Inf)?)$/;
  expect(lines.filter((line) => !form.test(line))).toEqual([]);
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), line.slice(line.lastIndexOf(" ") + 1)]));
}

const labels = (type: string, service: string, method: string, code?: string): string =>
  `grpc_type="${type}",grpc_service="${service}",grpc_method="${method}"${code === undefined ? "" : `,grpc_code="${code}"`}`;

it("the metrics page counts calls, and shows the process", { timeout: 60_000 }, async () => {
  await using daemon = await startBerthd({ config: `[metrics]\n  address = "127.0.0.1:0"\n  grpc_histogram = true\n` });
  const transport = createUnixTransport({ path: daemon.address, namespace: "default" });
  const containers = createClient(Containers, transport);
  for (let i = 0; i < 3; i += 1) await containers.list({});
  await containers.get({ id: "nothing" }).catch(() => {});
  await Array.fromAsync(containers.listStream({}));
  const stop = new AbortController();
  const subscription = createClient(Events, transport).subscribe({}, { signal: stop.signal })[Symbol.asyncIterator]();
  const waiting = subscription.next().catch(() => {});
  await using _plugin = await runNriPlugin({}, { name: "p", index: "00", socketPath: `${daemon.state}/nri/nri.sock` });
  const service = Containers.typeName;
  const list = labels("unary", service, "List");
  await expect
    .poll(async () =>
      (await pageOf(daemon)).get(`grpc_server_started_total{${labels("server_stream", Events.typeName, "Subscribe")}}`),
    )
    .toBe("1");
  const page = await pageOf(daemon);
  const handled = (type: string, method: string, code: string): string | undefined =>
    page.get(`grpc_server_handled_total{${labels(type, service, method, code)}}`);
  expect([handled("unary", "List", "OK"), handled("unary", "Get", "NotFound"), handled("unary", "Get", "OK")]).toEqual([
    "3",
    "1",
    undefined,
  ]);
  expect(handled("server_stream", "ListStream", "OK")).toBe("1");
  for (const name of ["started", "msg_received", "msg_sent"])
    expect(page.get(`grpc_server_${name}_total{${list}}`)).toBe("3");
  expect(page.get(`grpc_server_msg_sent_total{${labels("unary", service, "Get")}}`)).toBeUndefined();
  expect(page.get(`grpc_server_handling_seconds_count{${list}}`)).toBe("3");
  expect(page.get(`grpc_server_handling_seconds_bucket{le="+Inf",${list}}`)).toBe("3");
  expect(page.get('containerd_build_info_total{version="2.4.0+berth.0.1.0",revision=""}')).toBe("1");
  await expect.poll(async () => (await pageOf(daemon)).get("containerd_nri_active_plugins_total")).toBe("1");
  for (const name of [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
  ]) {
    expect(Number(page.get(name))).toBeGreaterThan(0);
  }
  await createClient(Leases, transport).create({ id: "collected" });
  await createClient(Leases, transport).delete({ id: "collected", sync: true });
  const collections = await pageOf(daemon);
  expect(Number(collections.get('containerd_gc_collections_total{status="success"}'))).toBeGreaterThan(0);
  expect(Number(collections.get("containerd_gc_gc_seconds_count"))).toBeGreaterThan(0);
  const ageSeconds = Date.now() / 1000 - Number(page.get("process_start_time_seconds"));
  expect(ageSeconds).toBeGreaterThan(-2);
  expect(ageSeconds).toBeLessThan(120);
  // A stream that its reader leaves has ended, and was cancelled.
  const cancelled = `grpc_server_handled_total{${labels("server_stream", Events.typeName, "Subscribe", "Canceled")}}`;
  expect(page.get(cancelled)).toBeUndefined();
  stop.abort();
  await waiting;
  await expect.poll(async () => (await pageOf(daemon)).get(cancelled)).toBe("1");
  transport.close();
});

it("there are no histograms unless asked for, and no page without an address", { timeout: 60_000 }, async () => {
  {
    await using daemon = await startBerthd({
      config: `[plugins."io.containerd.server.v1.metrics"]\n  address = "127.0.0.1:0"\n`,
    });
    await daemon.ctr(["containers", "ls"]);
    const page = await pageOf(daemon);
    expect([...page.keys()].some((name) => name.startsWith("grpc_server_handled_total"))).toBe(true);
    expect([...page.keys()].some((name) => name.includes("handling_seconds"))).toBe(false);
  }
  await using daemon = await startBerthd();
  const { stdout } = await daemon.ctr(["plugins", "ls"]);
  expect(stdout).toMatch(/server\.v1 +metrics +- +skip/);
  expect(stdout).toMatch(/metrics\.v1 +grpc-prometheus +- +skip/);
});
