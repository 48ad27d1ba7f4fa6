import { parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { RegistryClient } from "@berth/remotes";
import { describe, expect, it } from "vitest";

import { commitContainer } from "../src/commit-container.ts";
import { exportImages } from "../src/export-images.ts";
import { importImage } from "../src/import-image.ts";
import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import { pullImage } from "../src/pull-image.ts";
import { pushImage } from "../src/push-image.ts";
import { readStats } from "../src/read-stats.ts";
import { createContainer, readLog, spawn, spawnExec } from "../src/run.ts";
import { watchEvents } from "../src/watch-events.ts";

const DIGEST = parseDigest(`sha256:${"a".repeat(64)}`);
const DESCRIPTOR = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: DIGEST, size: 1 };
const NAMESPACE = parseNamespace("default");
const RECORD = { id: "a", labels: new Map(), runtime: { name: "r" }, extensions: new Map() };
const IO = { stdin: "", stdout: "", stderr: "", terminal: false };

type Call = (client: Client, options: { readonly signal: AbortSignal }) => Promise<unknown> | AsyncIterable<unknown>;

/** One call of each kind that there is. */
const CALLS: Readonly<Record<string, Call>> = {
  "content.info": (client, options) => client.content.info(DIGEST, options),
  "content.list": (client, options) => client.content.list(options),
  "content.reader": (client, options) => client.content.reader(DIGEST, options),
  "content.writer": (client, options) => client.content.writer("ref", options),
  "content.abort": (client, options) => client.content.abort("ref", options),
  "images.list": (client, options) => client.images.list(options),
  "images.delete": (client, options) => client.images.delete("a", options),
  "containers.create": (client, options) =>
    client.containers.create({ ...RECORD, image: "", snapshotter: "", snapshotKey: "", sandboxId: "" }, options),
  "containers.list": (client, options) => client.containers.list(options),
  "leases.create": (client, options) => client.leases.create({ id: "a", labels: new Map() }, options),
  "sandboxes.create": (client, options) => client.sandboxes.create({ ...RECORD, sandboxer: "" }, options),
  "sandboxController.stop": (client, options) => client.sandboxController().stop(NAMESPACE, "a", options),
  "mounts.list": (client, options) => client.mounts.list(options),
  "namespaces.listRecords": (client, options) => client.namespaces.listRecords(options),
  "events.publish": (client, options) =>
    client.events.publish(NAMESPACE, "/a", { typeUrl: "a", value: new Uint8Array() }, options),
  "events.subscribe": (client, options) => client.events.subscribe(options),
  "diff.compare": (client, options) => client.diff.compare([], [], options),
  "tasks.create": (client, options) => client.tasks.create("a", { io: IO, rootfs: [], ...options }),
  "tasks.list": (client, options) => client.tasks.list(options),
  "task.wait": (client, options) => client.tasks.task("a").wait(options),
  "task.kill": (client, options) => client.tasks.task("a").kill({ signalNumber: 9, ...options }),
  "snapshotter.prepare": (client, options) => client.snapshotter("native").prepare("a", "", options),
  "snapshotter.list": (client, options) => client.snapshotter("native").list(options),
  "introspection.plugins": (client, options) => client.introspection.plugins(options),
  version: (client, options) => client.version(options),
  health: (client, options) => client.health(options),
  lease: (client, options) => client.lease(options),
  createContainer: (client, options) => createContainer(client, { id: "a", image: "b", ...options }),
  spawn: (client, options) => spawn(client, { id: "a", image: "b", ...options }),
  spawnExec: (client, options) => spawnExec(client, "a", { execId: "e", args: ["b"], ...options }),
  readLog: (client, options) => readLog(client, "a", options),
  readStats: (client, options) => readStats(client, "a", options),
  watchEvents: (client, options) => watchEvents(client, options),
  commitContainer: (client, options) => commitContainer(client, "a", "b", options),
  importImage: (client, options) => importImage(client, nothing(), options),
  exportImages: (client, options) => exportImages(client, ["a"], options),
  pullImage: (client, options) => pullImage(client, new RegistryClient(), "example.org/a:1", options),
  pushImage: (client, options) =>
    pushImage(client, new RegistryClient(), "example.org/a:1", { ...options, target: DESCRIPTOR }),
};

describe("a call whose signal is aborted", () => {
  it.each(Object.entries(CALLS))("%s does not begin", async (_, call) => {
    // Nobody listens there: what looked for the daemon first would say so.
    await using client = createClient({ address: "/nowhere/there-is-no-daemon.sock" });
    const signal = AbortSignal.abort();
    const work = (async () => {
      const result = call(client, { signal });
      return Symbol.asyncIterator in result ? await Array.fromAsync(result) : await result;
    })();
    const error = await work.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    // The reason of the signal itself, or the code that stands for it.
    expect(error === signal.reason || codeOf(error) === Code.Canceled).toBe(true);
  });
});

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
