import { Containers } from "@berth/api/containerd/services/containers/v1/containers";
import { Content, WriteAction } from "@berth/api/containerd/services/content/v1/content";
import { Diff } from "@berth/api/containerd/services/diff/v1/diff";
import { Events } from "@berth/api/containerd/services/events/v1/events";
import { Images } from "@berth/api/containerd/services/images/v1/images";
import { Leases } from "@berth/api/containerd/services/leases/v1/leases";
import { Namespaces } from "@berth/api/containerd/services/namespaces/v1/namespaces";
import { Snapshots } from "@berth/api/containerd/services/snapshots/v1/snapshots";
import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import { Code } from "@berth/errors";
import { createClient } from "@berth/rpc/client";
import type { UnixTransport } from "@berth/rpc/client";
import { sha256 } from "@berth/testing";

const DIGEST = sha256(Buffer.from("not there"));
const target = { mediaType: "text/plain", digest: DIGEST, size: 9n };
const runtime = { name: "io.containerd.runc.v2" };
const spec = { typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: Buffer.from("{}") };
const LONG_LABEL = { key: "v".repeat(4096) };

type Call = (transport: UnixTransport) => Promise<unknown>;

async function* messages<T>(...list: readonly T[]): AsyncIterable<T> {
  yield* list;
}

/** What a client can get wrong, what containerd answers, and a part of the message that names the value. */
export const badInput: readonly (readonly [
  name: string,
  call: Call,
  code: Code,
  names: string,
  options?: { readonly namespace?: string },
])[] = [
  ["no namespace", (t) => createClient(Images, t).list({}), Code.FailedPrecondition, "namespace", { namespace: "" }],
  [
    "a bad namespace",
    (t) => createClient(Images, t).list({}),
    Code.InvalidArgument,
    "no/good",
    { namespace: "no/good" },
  ],
  [
    "a namespace that is too long",
    (t) => createClient(Images, t).list({}),
    Code.InvalidArgument,
    "76",
    { namespace: "n".repeat(77) },
  ],
  [
    "a bad name of a namespace",
    (t) => createClient(Namespaces, t).create({ namespace: { name: "-x" } }),
    Code.InvalidArgument,
    "-x",
  ],
  [
    "an unknown namespace to delete",
    (t) => createClient(Namespaces, t).delete({ name: "nobody" }),
    Code.NotFound,
    "nobody",
  ],
  [
    "a field of a namespace that cannot change",
    (t) => createClient(Namespaces, t).update({ namespace: { name: "default" }, updateMask: { paths: ["name"] } }),
    Code.InvalidArgument,
    "name",
  ],
  ["a bad filter", (t) => createClient(Images, t).list({ filters: ["name=="] }), Code.InvalidArgument, "name=="],
  [
    "an image without a name",
    (t) => createClient(Images, t).create({ image: { target } }),
    Code.InvalidArgument,
    "name",
  ],
  [
    "an image with a bad digest",
    (t) => createClient(Images, t).create({ image: { name: "x", target: { ...target, digest: "sha256:xyz" } } }),
    Code.InvalidArgument,
    "sha256:xyz",
  ],
  [
    "an image without a size",
    (t) => createClient(Images, t).create({ image: { name: "x", target: { ...target, size: 0n } } }),
    Code.InvalidArgument,
    "size",
  ],
  [
    "an image with a label that is too long",
    (t) => createClient(Images, t).create({ image: { name: "x", target, labels: LONG_LABEL } }),
    Code.InvalidArgument,
    "4096",
  ],
  ["an image that is not there", (t) => createClient(Images, t).get({ name: "nothing" }), Code.NotFound, "nothing"],
  [
    "a container with a bad id",
    (t) => createClient(Containers, t).create({ container: { id: "a b", runtime, spec } }),
    Code.InvalidArgument,
    "a b",
  ],
  [
    "a container without a runtime",
    (t) => createClient(Containers, t).create({ container: { id: "x", spec } }),
    Code.InvalidArgument,
    "runtime",
  ],
  [
    "a container without a spec",
    (t) => createClient(Containers, t).create({ container: { id: "x", runtime } }),
    Code.InvalidArgument,
    "spec",
  ],
  [
    "a snapshot key without a snapshotter",
    (t) => createClient(Containers, t).create({ container: { id: "x", runtime, spec, snapshotKey: "k" } }),
    Code.InvalidArgument,
    "snapshot",
  ],
  [
    "a container that is not there",
    (t) => createClient(Containers, t).get({ id: "nothing" }),
    Code.NotFound,
    "nothing",
  ],
  [
    "a bad digest of content",
    (t) => createClient(Content, t).info({ digest: "sha256:XYZ" }),
    Code.InvalidArgument,
    "sha256:XYZ",
  ],
  [
    "a digest with a path in it",
    (t) => createClient(Content, t).info({ digest: "sha256:../../../etc/passwd" }),
    Code.InvalidArgument,
    "etc/passwd",
  ],
  ["content that is not there", (t) => createClient(Content, t).info({ digest: DIGEST }), Code.NotFound, DIGEST],
  [
    "a write without a ref",
    (t) => Array.fromAsync(createClient(Content, t).write(messages({ action: WriteAction.STAT }))),
    Code.InvalidArgument,
    "ref",
  ],
  [
    "a write at a wrong offset",
    (t) =>
      Array.fromAsync(
        createClient(Content, t).write(
          messages(
            { action: WriteAction.STAT, ref: "r1" },
            { action: WriteAction.WRITE, offset: 5n, data: Buffer.from("x") },
          ),
        ),
      ),
    Code.OutOfRange,
    "5",
  ],
  [
    "a commit with a wrong digest",
    (t) =>
      Array.fromAsync(
        createClient(Content, t).write(
          messages(
            { action: WriteAction.WRITE, ref: "r2", data: Buffer.from("x") },
            { action: WriteAction.COMMIT, expected: DIGEST },
          ),
        ),
      ),
    Code.FailedPrecondition,
    "digest",
  ],
  [
    "a commit with a wrong size",
    (t) =>
      Array.fromAsync(
        createClient(Content, t).write(
          messages(
            { action: WriteAction.WRITE, ref: "r3", data: Buffer.from("x") },
            { action: WriteAction.COMMIT, total: 7n },
          ),
        ),
      ),
    Code.FailedPrecondition,
    "7",
  ],
  ["an ingest that is not there", (t) => createClient(Content, t).abort({ ref: "nothing" }), Code.NotFound, "nothing"],
  ["no snapshotter", (t) => createClient(Snapshots, t).stat({ key: "k" }), Code.InvalidArgument, "snapshotter"],
  [
    "an unknown snapshotter",
    (t) => createClient(Snapshots, t).stat({ snapshotter: "none", key: "k" }),
    Code.InvalidArgument,
    "none",
  ],
  [
    "a snapshot on a missing parent",
    (t) => createClient(Snapshots, t).prepare({ snapshotter: "overlayfs", key: "k", parent: "gone" }),
    Code.NotFound,
    "gone",
  ],
  [
    "a snapshot that is not there",
    (t) => createClient(Snapshots, t).mounts({ snapshotter: "overlayfs", key: "nothing" }),
    Code.NotFound,
    "nothing",
  ],
  ["a lease that is not there", (t) => createClient(Leases, t).delete({ id: "nothing" }), Code.NotFound, "nothing"],
  [
    "a lease with a bad resource",
    (t) => createClient(Leases, t).addResource({ id: "bad-input", resource: { id: "x", type: "nonsense" } }),
    Code.Unimplemented,
    "nonsense",
  ],
  [
    "a topic without a slash",
    (t) => createClient(Events, t).publish({ topic: "x", event: spec }),
    Code.InvalidArgument,
    "x",
  ],
  [
    "a topic with a bad part",
    (t) => createClient(Events, t).publish({ topic: "/a b", event: spec }),
    Code.InvalidArgument,
    "a b",
  ],
  [
    "a task of no container",
    (t) => createClient(Tasks, t).create({ containerId: "nothing" }),
    Code.NotFound,
    "nothing",
  ],
  ["a task that is not there", (t) => createClient(Tasks, t).get({ containerId: "nothing" }), Code.NotFound, "nothing"],
  [
    "a layer of an unknown type",
    (t) => createClient(Diff, t).apply({ diff: { ...target, mediaType: "text/plain" }, mounts: [] }),
    Code.Unknown,
    "",
  ],
];
