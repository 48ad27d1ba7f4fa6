import { mkdir, mkdtemp, readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";

import { type Client, createClient } from "@berth/client";
import { runConformance } from "@berth/conformance";
import { mountCases, type MountSubject } from "@berth/conformance/mounts";
import { LeaseLabel } from "@berth/core/leases";
import type { Mount } from "@berth/core/mount";
import { Code, codeOf } from "@berth/errors";
import { mountAll, readMountInfo, unmountAll } from "@berth/linux/mount";
import { parseDigest } from "@berth/oci";
import { makeErofsImage, makeExt4Image, type PeerDaemon, startBerthd, temporaryDirectory } from "@berth/testing";
import * as vitest from "vitest";

const { afterAll, beforeAll, describe, expect, it } = vitest;

let daemon: PeerDaemon;
let count = 0;

beforeAll(async () => {
  daemon = await startBerthd();
});
afterAll(() => daemon[Symbol.asyncDispose]());

const noLabels: ReadonlyMap<string, string> = new Map();

/** What a daemon has mounted for activations, and the files of its loop devices. */
async function machine(): Promise<{ mountPoints: string[]; loopFiles: string[] }> {
  const { root, state } = daemon;
  const mountPoints = readMountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(state) ? [mountPoint] : []));
  const devices = (await readdir("/sys/block")).filter((name) => name.startsWith("loop"));
  const files = devices.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => ""));
  return {
    mountPoints,
    loopFiles: (await Promise.all(files)).filter((file) => file.startsWith(root)).map((file) => file.trim()),
  };
}

/** A lease that is deleted with `sync` is answered after a collection. */
async function collect(client: Client): Promise<void> {
  const { id } = await client.leases.create({ id: `gc-${++count}`, labels: noLabels });
  await client.leases.delete(id, { sync: true });
}

async function openSubject(): Promise<MountSubject> {
  const images = join(daemon.root, `test-${++count}`);
  const directory = join(images, "work");
  await mkdir(directory, { recursive: true });
  const clients = ["one", "two"].map((name) =>
    createClient({ address: daemon.address, namespace: `${name}-${count}` }),
  );
  const [one, two] = clients as [Client, Client]; // there are two names
  for (const client of clients) await client.leases.create({ id: "held", labels: noLabels });
  return {
    mounts: one.scoped({ lease: "held" }).mounts,
    others: two.scoped({ lease: "held" }).mounts,
    directory,
    machine,
    collect: () => collect(one),
    async image(type, files) {
      const image = join(images, `${++count}.${type}`);
      await (type === "erofs" ? makeErofsImage(image, files) : makeExt4Image(image, files));
      return image;
    },
    mount: (mounts) => mountAt(images, mounts),
    async [Symbol.asyncDispose]() {
      for (const client of clients) {
        for await (const { name } of client.mounts.list()) await client.mounts.deactivate(name);
        await client.leases.delete("held");
        await client[Symbol.asyncDispose]();
      }
    },
  };
}

async function mountAt(parent: string, mounts: readonly Mount[]) {
  const path = await mkdtemp(join(parent, "mounted-"));
  await mountAll(mounts, path);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await unmountAll(path);
      await rmdir(path);
    },
  };
}

runConformance(vitest, "mounts over the client", mountCases, openSubject);

describe("mounts of a daemon", () => {
  const erofs = async (): Promise<Mount[]> => {
    const image = join(daemon.root, `${++count}.erofs`);
    await makeErofsImage(image, { a: "1" });
    return [{ type: "erofs", source: image, target: "", options: ["ro", "loop"] }];
  };
  const openClient = (): Client => createClient({ address: daemon.address, namespace: `gc-${++count}` });
  const names = async (client: Client): Promise<string[]> =>
    (await Array.fromAsync(client.mounts.list())).map(({ name }) => name);

  it("go with their lease, and at the next collection when nothing holds them", async () => {
    await using client = openClient();
    const list = await erofs();
    await client.leases.create({ id: "lease", labels: noLabels });
    await client.scoped({ lease: "lease" }).mounts.activate("leased", list);
    await client.mounts.activate("free", list);
    await collect(client);
    expect(await names(client)).toEqual(["leased"]);
    await client.leases.delete("lease", { sync: true });
    expect(await names(client)).toEqual([]);
    expect((await machine()).mountPoints).toEqual([]);
    const past = new Map([[LeaseLabel.expire, "2020-01-01T00:00:00Z"]]);
    await client.leases.create({ id: "expired", labels: past });
    await client.scoped({ lease: "expired" }).mounts.activate("expired", list);
    await collect(client);
    expect(await names(client)).toEqual([]);
  });

  it("live as long as what their labels name, or names them in its own", async () => {
    await using client = openClient();
    const list = await erofs();
    const target = { mediaType: "text/plain", digest: parseDigest(`sha256:${"a".repeat(64)}`), size: 1 };
    await client.images.create({ name: "image", target, labels: new Map([["containerd.io/gc.ref.mount", "named"]]) });
    await client.mounts.activate("named", list);
    const labels = new Map([["containerd.io/gc.bref.image", "image"]]);
    await client.mounts.activate("held", list, { labels });
    await client.mounts.activate("dangling", list, { labels: new Map([["containerd.io/gc.bref.container", "none"]]) });
    await collect(client);
    expect(await names(client)).toEqual(["held", "named"]);
    await client.images.delete("image", { sync: true });
    expect(await names(client)).toEqual([]);
    expect((await machine()).mountPoints).toEqual([]);
  });

  it("stay over a restart of the daemon, also one that was killed, as one activation", async () => {
    await using client = openClient();
    const [mount] = await erofs();
    if (mount === undefined) throw new Error("no mount");
    await client.leases.create({ id: "lease", labels: noLabels });
    const info = await client.scoped({ lease: "lease" }).mounts.activate("kept", [mount]);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await daemon.restart({ signal });
      await using next = createClient({ address: daemon.address, namespace: client.namespace });
      expect(await next.mounts.info("kept")).toEqual(info);
      expect((await machine()).mountPoints).toEqual([info.active[0]?.mountPoint]);
      expect(codeOf(await next.mounts.activate("kept", [mount]).catch((error: unknown) => error))).toBe(
        Code.AlreadyExists,
      );
    }
    await using last = createClient({ address: daemon.address, namespace: client.namespace });
    await last.leases.delete("lease", { sync: true });
    expect((await machine()).mountPoints).toEqual([]);
  });

  it("may be prepared in further directories of the configuration, and nowhere else", async () => {
    await using directory = await temporaryDirectory("mounts-roots");
    const config = `[plugins."io.containerd.mount-manager.v1.bolt"]\nallowed_roots = ["${directory.path}"]\n`;
    await using other = await startBerthd({ config });
    const made = join(directory.path, "made");
    const list = [
      { type: "mkdir/bind", source: made, target: "", options: [`X-containerd.mkdir.path=${made}`, "rbind"] },
    ];
    await using client = createClient({ address: other.address });
    await client.mounts.activate("a", list);
    expect(await readdir(directory.path)).toEqual(["made"]);
    await client.mounts.deactivate("a");
    await using elsewhere = createClient({ address: daemon.address });
    const refused = await elsewhere.mounts.activate("a", list).catch((error: unknown) => error);
    expect(codeOf(refused)).toBe(Code.FailedPrecondition);
  });

  it("are shown as plugins in containerd's order", async () => {
    await using client = openClient();
    const ids = (await client.plugins()).map(({ type, id }) => `${type}.${id}`);
    const wanted = [
      "io.containerd.mount-handler.v1.erofs",
      "io.containerd.metadata.v1.bolt",
      "io.containerd.mount-manager.v1.bolt",
      "io.containerd.differ.v1.walking",
      "io.containerd.runtime.v2.task",
      "io.containerd.grpc.v1.mounts",
      "io.containerd.grpc.v1.namespaces",
    ];
    expect(ids.filter((id) => wanted.includes(id))).toEqual(wanted);
  });
});
