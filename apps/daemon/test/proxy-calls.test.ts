import { join } from "node:path";

import { Content } from "@berth/api/containerd/services/content/v1/content";
import { Diff } from "@berth/api/containerd/services/diff/v1/diff";
import { Snapshots } from "@berth/api/containerd/services/snapshots/v1/snapshots";
import { silentLogger } from "@berth/core/log";
import { parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf, unavailable } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { bootPlugins } from "@berth/plugin-core";
import { ContentPlugin, DiffPlugin, SnapshotPlugin } from "@berth/plugin-core/types";
import { createRpcServer, findNamespace, leaseOf, serviceRoute } from "@berth/rpc";
import { busyboxImage, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import type { HandlerContext } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { daemonConfigSchema } from "../src/config/daemon-config.ts";
import { proxyPlugins } from "../src/proxies/proxy-plugins.ts";

/** What a proxy was told of a call. */
interface Told {
  readonly method: string;
  readonly namespace: string | undefined;
  readonly lease: string | undefined;
  readonly limited: boolean;
}

const digest = parseDigest(`sha256:${"0".repeat(64)}`);
const never = new AbortController().signal;

/** Proxy plugins of all types before a server that notes each call and answers none. */
async function openProxies() {
  await using made = new AsyncDisposableStack();
  const directory = made.use(await temporaryDirectory("proxy-calls"));
  const address = join(directory.path, "socket");
  const told: Told[] = [];
  const note = (context: HandlerContext): never => {
    told.push({
      method: context.method.name,
      namespace: findNamespace(context),
      lease: leaseOf(context),
      limited: context.timeoutMs() !== undefined,
    });
    throw unavailable("noted");
  };
  const unary = (_request: unknown, context: HandlerContext): never => note(context);
  // eslint-disable-next-line require-yield
  async function* stream(_request: unknown, context: HandlerContext) {
    note(context);
  }
  const server = made.use(
    createRpcServer({
      routes: [
        serviceRoute(Content, { info: unary, status: unary, abort: unary, write: stream, list: stream }),
        serviceRoute(Snapshots, { prepare: unary, commit: unary, remove: unary, list: stream }),
        serviceRoute(Diff, { apply: unary }),
      ],
    }),
  );
  await server.listen({ path: address });
  const types = { bytes: "content", far: "snapshot", away: "diff" };
  const proxies = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, { type, address }]));
  const config = daemonConfigSchema.parse({ proxy_plugins: proxies });
  const graph = made.use(
    await bootPlugins({
      plugins: proxyPlugins(config, [], silentLogger),
      root: directory.path,
      state: directory.path,
      grpcAddress: "",
      ttrpcAddress: "",
      log: silentLogger,
      signal: never,
      fatal: (error) => {
        throw error;
      },
    }),
  );
  const [content] = graph.loaded(ContentPlugin).values();
  const [snapshotter] = graph.loaded(SnapshotPlugin).values();
  const [differ] = graph.loaded(DiffPlugin).values();
  if (content === undefined || snapshotter === undefined || differ === undefined) throw unavailable("not loaded");
  const owned = made.move();
  const last = async (call: Promise<unknown>): Promise<Told | undefined> => {
    expect(codeOf(await call.catch((error: unknown) => error))).toBe(Code.Unavailable);
    return told.at(-1);
  };
  return { content, snapshotter, differ, graph, last, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describe("proxies", () => {
  it("are told the namespace that a key or a ref belongs to", async () => {
    await using proxies = await openProxies();
    const { content, snapshotter, last } = proxies;
    for (const [name, namespace] of [
      ["team.a/12/key", "team.a"],
      ["team.a/12/", "team.a"],
      ["key", undefined],
      ["team.a/0/key", undefined],
      ["not a name/12/key", undefined],
    ] as const) {
      expect(await last(snapshotter.prepare(name, ""))).toMatchObject({ method: "Prepare", namespace });
      expect(await last(snapshotter.commit("other/3/x", name))).toMatchObject({ method: "Commit", namespace });
      expect(await last(snapshotter.remove(name))).toMatchObject({ method: "Remove", namespace });
      expect(await last(content.status(name))).toMatchObject({ method: "Status", namespace });
      expect(await last(content.abort(name))).toMatchObject({ method: "Abort", namespace });
      expect(await last(content.writer(name))).toMatchObject({ method: "Write", namespace });
    }
    expect(await last(content.info(digest))).toMatchObject({ method: "Info", namespace: undefined });
    expect(await last(Array.fromAsync(snapshotter.list()))).toMatchObject({ method: "List", namespace: undefined });
  });

  it("that apply layers are told namespace and lease of the caller", async () => {
    await using proxies = await openProxies();
    const differ = proxies.differ(parseNamespace("team"), { lease: "held" });
    const call = differ.apply({ mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size: 1 }, []);
    expect(await proxies.last(call)).toMatchObject({ method: "Apply", namespace: "team", lease: "held" });
  });

  it("get a deadline where the caller has none of his own", async () => {
    await using proxies = await openProxies();
    const { content, snapshotter, last } = proxies;
    expect(await last(snapshotter.remove("k"))).toMatchObject({ limited: true });
    expect(await last(Array.fromAsync(content.list()))).toMatchObject({ limited: true });
    expect(await last(snapshotter.remove("k", { signal: never }))).toMatchObject({ limited: false });
    expect(await last(content.writer("r"))).toMatchObject({ limited: false });
  });

  it("are left by the last plugin that stops", async () => {
    const proxies = await openProxies();
    const { content, snapshotter, graph } = proxies;
    await graph[Symbol.asyncDispose]();
    for (const call of [content.info(digest), snapshotter.remove("k")]) {
      expect(codeOf(await call.catch((error: unknown) => error))).toBe(Code.Canceled);
    }
    await proxies[Symbol.asyncDispose]();
  });

  it("apply layers for berthd: containerd does it", { timeout: 60_000 }, async () => {
    const image = await busyboxImage();
    await using theirs = await startContainerd();
    // It has the bytes, and unpacks nothing of its own.
    const loaded = await theirs.ctr(["image", "import", "--no-unpack", "-"], { input: image.archive });
    expect(loaded.code).toBe(0);
    await using ours = await startBerthd({
      config: `[proxy_plugins.away]
  type = "io.containerd.differ.v1"
  address = "${theirs.address}"
[plugins."io.containerd.service.v1.diff-service"]
  default = ["away"]
`,
      disabledPlugins: ["io.containerd.differ.v1.walking"],
    });
    expect(await ours.ctr(["image", "import", "-"], { input: image.archive })).toMatchObject({ code: 0, stderr: "" });
    const ran = await ours.ctr(["run", "--rm", image.name, "c1", "echo", "applied elsewhere"]);
    expect(ran).toMatchObject({ code: 0, stdout: "applied elsewhere\n" });
  });
});
