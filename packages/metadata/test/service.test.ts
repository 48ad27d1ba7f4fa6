import { NamespaceUpdateSchema } from "@berth/api/containerd/events/namespace";
import type { AnyValue } from "@berth/core/any";
import { fromBinary } from "@bufbuild/protobuf";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import {
  Containers,
  createContainersService,
  createImagesService,
  createLeasesService,
  createNamespacesService,
  Images,
  Leases,
  Namespaces,
} from "../src/service.ts";
import { openStorage } from "./daemon-storage.ts";

const digest = `sha256:${"a".repeat(64)}`;
const target = { mediaType: "m", digest, size: 10n, annotations: { a: "1" } };

async function openClients(options: Parameters<typeof openStorage>[0] = {}) {
  const storage = await openStorage(options);
  const stores = () => storage.stores;
  const transport = createRouterTransport((router) => {
    router.service(Images, createImagesService(stores));
    router.service(Containers, createContainersService(stores));
    router.service(Leases, createLeasesService(stores));
    router.service(Namespaces, createNamespacesService(storage.metadata.namespaces));
  });
  return {
    storage,
    images: createClient(Images, transport),
    containers: createClient(Containers, transport),
    leases: createClient(Leases, transport),
    namespaces: createClient(Namespaces, transport),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  };
}

const codeFrom = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => codeOf(error),
  );

describe("createImagesService", () => {
  it("translates every field, and times to the millisecond", async () => {
    await using clients = await openClients();
    const sourceDateEpoch = { seconds: 1_700_000_000n, nanos: 123_000_000 };
    const { image } = await clients.images.create({
      image: { name: "a", labels: { k: "v" }, target },
      sourceDateEpoch,
    });
    expect(image).toMatchObject({ name: "a", labels: { k: "v" }, target, createdAt: sourceDateEpoch });
    expect((await clients.images.get({ name: "a" })).image).toEqual(image);
    expect((await clients.images.list({ filters: ["name==a", "name==b"] })).images).toEqual([image]);
  });

  it("updates labels without a target in the request, and annotations with only those", async () => {
    await using clients = await openClients();
    await clients.images.create({ image: { name: "a", labels: { k: "v" }, target } });
    const labelled = await clients.images.update({
      image: { name: "a", labels: { k: "", n: "1" } },
      updateMask: { paths: ["labels.k", "labels.n"] },
    });
    expect(labelled.image).toMatchObject({ labels: { n: "1" }, target });
    const annotated = await clients.images.update({
      image: { name: "a", target: { annotations: { b: "2" } } },
      updateMask: { paths: ["annotations.b"] },
    });
    expect(annotated.image?.target?.annotations).toEqual({ a: "1", b: "2" });
  });

  it.each([
    ["no image", {}],
    ["no name", { image: { target } }],
    ["no target", { image: { name: "a" } }],
    ["a bad digest", { image: { name: "a", target: { ...target, digest: "sha256:0" } } }],
    ["no size", { image: { name: "a", target: { ...target, size: 0n } } }],
    ["a size beyond 2^53", { image: { name: "a", target: { ...target, size: 2n ** 60n } } }],
  ])("refuses %s", async (_, request) => {
    await using clients = await openClients();
    expect(await codeFrom(clients.images.create(request))).toBe(Code.InvalidArgument);
    await clients.images.create({ image: { name: "a", target } });
    expect(await codeFrom(clients.images.update(request))).toBe(Code.InvalidArgument);
  });

  it("deletes only the target that is named", async () => {
    await using clients = await openClients();
    await clients.images.create({ image: { name: "a", target } });
    const other = { digest: `sha256:${"b".repeat(64)}` };
    expect(await codeFrom(clients.images.delete({ name: "a", target: other }))).toBe(Code.NotFound);
    await clients.images.delete({ name: "a", target, sync: true });
    expect(await codeFrom(clients.images.get({ name: "a" }))).toBe(Code.NotFound);
  });
});

describe("createContainersService", () => {
  const spec = { typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: new Uint8Array([1, 2]) };

  it("translates every field and streams the list", async () => {
    await using clients = await openClients();
    const container = {
      id: "c",
      labels: { k: "v" },
      image: "i",
      runtime: { name: "r", options: { typeUrl: "o", value: new Uint8Array([3]) } },
      spec,
      snapshotter: "native",
      snapshotKey: "k",
      extensions: { e: { typeUrl: "x", value: new Uint8Array([4]) } },
      sandbox: "s",
    };
    const created = await clients.containers.create({ container });
    expect(created.container).toMatchObject(container);
    expect((await clients.containers.get({ id: "c" })).container).toEqual(created.container);
    const streamed = await Array.fromAsync(clients.containers.listStream({}));
    expect(streamed.map((message) => message.container)).toEqual([created.container]);
    const mask = { paths: ["snapshotkey"] };
    const updated = await clients.containers.update({
      container: { ...container, snapshotKey: "n" },
      updateMask: mask,
    });
    expect(updated.container?.snapshotKey).toBe("n");
    await clients.containers.delete({ id: "c" });
    expect((await clients.containers.list({})).containers).toEqual([]);
  });

  it("refuses a request without container", async () => {
    await using clients = await openClients();
    expect(await codeFrom(clients.containers.create({}))).toBe(Code.InvalidArgument);
  });
});

describe("createLeasesService", () => {
  it("makes up an id, and lists what was added", async () => {
    await using clients = await openClients();
    const ids = await Promise.all([clients.leases.create({}), clients.leases.create({ labels: { k: "v" } })]);
    expect(new Set(ids.map(({ lease }) => lease?.id)).size).toBe(2);
    const id = ids[1].lease?.id ?? "";
    expect((await clients.leases.list({ filters: ["labels.k==v"] })).leases).toEqual([ids[1].lease]);
    await clients.leases.addResource({ id, resource: { type: "images", id: "i" } });
    expect((await clients.leases.listResources({ id })).resources).toMatchObject([{ type: "images", id: "i" }]);
    await clients.leases.deleteResource({ id, resource: { type: "images", id: "i" } });
    await clients.leases.delete({ id, sync: true });
    expect(await codeFrom(clients.leases.listResources({ id }))).toBe(Code.NotFound);
    expect(await codeFrom(clients.leases.addResource({ id }))).toBe(Code.InvalidArgument);
  });
});

describe("createNamespacesService", () => {
  it("replaces labels without a mask, and only those named with one", async () => {
    await using clients = await openClients();
    await clients.namespaces.create({ namespace: { name: "n", labels: { a: "1", b: "2" } } });
    const named = {
      namespace: { name: "n", labels: { a: "9", c: "3" } },
      updateMask: { paths: ["labels.c", "labels.b"] },
    };
    expect((await clients.namespaces.update(named)).namespace?.labels).toEqual({ a: "1", c: "3" });
    const all = await clients.namespaces.update({ namespace: { name: "n", labels: { z: "0" } } });
    expect(all.namespace?.labels).toEqual({ z: "0" });
    expect((await clients.namespaces.list({})).namespaces).toMatchObject([{ name: "n", labels: { z: "0" } }]);
    const wrong = { namespace: { name: "n" }, updateMask: { paths: ["name"] } };
    expect(await codeFrom(clients.namespaces.update(wrong))).toBe(Code.InvalidArgument);
    await clients.namespaces.delete({ name: "n" });
    expect((await clients.namespaces.get({ name: "n" })).namespace).toMatchObject({ name: "n", labels: {} });
  });

  it("tells the labels of a request, and makes no namespace that is given none", async () => {
    const told: unknown[] = [];
    const publish = async (_: unknown, topic: string, { value }: AnyValue): Promise<void> => {
      if (topic === "/namespaces/update") told.push(fromBinary(NamespaceUpdateSchema, value).labels);
    };
    await using clients = await openClients({ events: { publish } });
    await clients.namespaces.update({ namespace: { name: "none" } });
    expect((await clients.namespaces.list({})).namespaces).toEqual([]);
    await clients.namespaces.create({ namespace: { name: "n", labels: { a: "1", b: "2" } } });
    await clients.namespaces.update({ namespace: { name: "n", labels: { z: "0" } } });
    const named = { namespace: { name: "n", labels: { x: "1", y: "2" } }, updateMask: { paths: ["labels.x"] } };
    expect((await clients.namespaces.update(named)).namespace?.labels).toEqual({ x: "1", z: "0" });
    expect(told).toEqual([{}, { z: "0" }, { x: "1", y: "2" }]);
  });

  it("refuses bad names", async () => {
    await using clients = await openClients();
    expect(await codeFrom(clients.namespaces.get({ name: "a/b" }))).toBe(Code.InvalidArgument);
    expect(await codeFrom(clients.namespaces.create({ namespace: { name: "" } }))).toBe(Code.InvalidArgument);
    expect(await codeFrom(clients.namespaces.create({}))).toBe(Code.InvalidArgument);
  });
});
