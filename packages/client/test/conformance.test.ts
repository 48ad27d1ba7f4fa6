import { execFile } from "node:child_process";
import { promisify } from "node:util";

import type { Mount } from "@berth/core/mount";
import type { NamespacedStores } from "@berth/core/metadata";
import type { Namespace } from "@berth/core/namespaces";
import { runConformance } from "@berth/conformance";
import { collectorBackReferenceCases, collectorCases, collectorConditionCases } from "@berth/conformance/collector";
import { containerCases } from "@berth/conformance/containers";
import { contentCases, contentLabelCases } from "@berth/conformance/content";
import { imageCases } from "@berth/conformance/images";
import { leaseCases } from "@berth/conformance/leases";
import { namespaceCases } from "@berth/conformance/namespaces";
import { sandboxCases } from "@berth/conformance/sandboxes";
import { snapshotCases } from "@berth/conformance/snapshots";
import { startBerthd, startContainerd } from "@berth/testing";
import type { PeerDaemon } from "@berth/testing";
import * as vitest from "vitest";

import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";

/** Rules that neither of Debian's containerd keeps, 1.6.20 or 2.1.9, each with what they do instead. */
const OTHERWISE: ReadonlyMap<string, string> = new Map([
  ["sha384 blobs are verified and stored under their digest", "knows sha256 only"],
  ["sha512 blobs are verified and stored under their digest", "knows sha256 only"],
  ["list is in order of the digests and filters by digest and size", "no filter by size"],
  ["list is in order of the id and filters by id, runtime, image and labels", "a bad regex matches nothing"],
  ["update adds to extensions and never takes one away", "answers with what was sent, keeps what was there"],
  ["create refuses labels over the limit", "leases have no such limit"],
  ["only an active snapshot can be committed", "native measures a view before it looks at its kind"],
  ["list knows every snapshot and filters by kind, name, parent and labels", "a bad filter is unknown"],
  ["commit may name the parent there is; another one is refused", "came later"],
  ["commit gives a parent to a snapshot that has none, where rebase is supported", "came later"],
  ["setLabels changes the labels given, all or none; an empty value deletes one", "the limit of labels is unknown"],
]);

const IN_1_6: ReadonlyMap<string, string> = new Map([
  ...OTHERWISE,
  ["sourceDateEpoch stands in for the time", "came later"],
  ["delete with another target than the image has is not_found", "came later"],
  ["create returns what get and list return", "containers have no sandbox yet"],
  ["resources are added once, listed and removed, whether what they name exists or not", "leases hold no images yet"],
  ["delete removes the lease with its resources", "leases hold no images yet"],
  ["leases do not keep a namespace, and go with it", "leases hold no images yet"],
  ["resources of an unknown type are unimplemented, malformed ones invalid_argument", "leases hold no images yet"],
  ["an expired image goes with what it held", "images do not expire yet"],
  [
    "a flat lease holds only what it names: parents of snapshots and targets of images besides",
    "leases hold no images yet",
  ],
]);

const IN_2: ReadonlyMap<string, string> = new Map([
  ...OTHERWISE,
  [
    "create refuses what cannot be run",
    "takes a container without a spec: its check looks at a pointer that is never nil",
  ],
  [
    "create refuses an id that is taken, or is no identifier, and labels over the limit",
    "sandboxes have no limit of labels",
  ],
  ["list is in order of the id and filters by id and labels", "a bad filter of sandboxes matches nothing"],
]);

/** What stands in the way of a rule whatever the daemon. */
const NOT_HERE: ReadonlyMap<string, string> = new Map([
  ["an ingest without a lease lives for a day, and an open one as long as it is open", "all is made through a lease"],
  ["130 layers can be mounted", "mount(8) passes no more than a page of options"],
  ["a committed snapshot has no mounts, an unknown one is not found", "its calls reject before they are awaited"],
]);

/** The suites of the contracts over the socket: of the daemon that the contracts were taken from, and of ours. */
vitest.describe.each([
  { name: "containerd 1.6", startDaemon: () => startContainerd(), otherwise: IN_1_6, rebasing: [""] },
  { name: "containerd 2", startDaemon: () => startContainerd({ release: "2" }), otherwise: IN_2, rebasing: [""] },
  { name: "berthd", startDaemon: () => startBerthd(), otherwise: new Map<string, string>(), rebasing: ["overlayfs"] },
])("contracts over $name", ({ startDaemon, otherwise, rebasing }) => {
  /** The rules that hold: `but` names one that only another suite has to leave out. */
  const kept = <T extends { readonly name: string }>(cases: readonly T[], but = ""): T[] =>
    cases.filter(({ name }) => name === but || !(otherwise.has(name) || NOT_HERE.has(name)));
  let daemon: PeerDaemon;
  let count = 0;

  vitest.beforeAll(async () => {
    daemon = await startDaemon();
  });
  vitest.afterAll(() => daemon[Symbol.asyncDispose]());

  /** A namespace of its own for each case, so that it begins empty. */
  const open = async <T extends object>(subject: (client: Client) => T): Promise<T & AsyncDisposable> => {
    const client = createClient({ address: daemon.address, namespace: `case-${++count}` });
    return { ...subject(client), [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() };
  };
  /** What no image refers to is collected at any time, unless a lease holds it. */
  const openLeased = async <T extends object>(subject: (client: Client) => T): Promise<T & AsyncDisposable> => {
    const client = createClient({ address: daemon.address, namespace: `case-${++count}` });
    const { id } = await client.leases.create({ id: "held", labels: new Map() });
    return { ...subject(client.scoped({ lease: id })), [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() };
  };

  runConformance(vitest, "content", kept([...contentCases, ...contentLabelCases]), () =>
    openLeased(({ content }) => ({ store: content })),
  );
  runConformance(vitest, "images", kept(imageCases, "create returns what get and list return"), () =>
    open(({ images }) => ({ images })),
  );
  runConformance(vitest, "containers", kept(containerCases), () => open(({ containers }) => ({ containers })));
  runConformance(vitest, "leases", kept(leaseCases), () => open(({ leases }) => ({ leases })));
  /** A lease holds the scene until it is collected: the daemon collects whenever it likes. */
  const openCollected = async () => {
    const subject = await open((client) => ({
      client,
      stores: storesOf(client.scoped({ lease: "scene" })),
      leased: (lease: string) => storesOf(client.scoped({ lease })),
      collect: () => client.leases.delete("scene", { sync: true }),
    }));
    await subject.client.leases.create({ id: "scene", labels: new Map() });
    return subject;
  };
  runConformance(vitest, "collector", kept(collectorCases), openCollected);
  // Labels that came after 2.1; sandboxes came after 1.6.
  if (otherwise !== IN_1_6 && otherwise !== IN_2) {
    const later = [...collectorBackReferenceCases, ...collectorConditionCases];
    runConformance(vitest, "collector, labels of later", later, openCollected);
  }
  if (otherwise !== IN_1_6) {
    runConformance(vitest, "sandboxes", kept(sandboxCases), () => open(({ sandboxes }) => ({ sandboxes })));
  }
  for (const name of ["native", "overlayfs"]) {
    runConformance(vitest, `snapshots ${name}`, kept(snapshotCases), () =>
      openLeased((client) => ({
        snapshotter: client.snapshotter(name),
        rebases: rebasing.includes(name),
        mount: mountAll,
      })),
    );
  }
  runConformance(vitest, "namespaces", kept(namespaceCases), async () => {
    // Namespaces are the daemon's own: each case begins with an empty daemon.
    await using stack = new AsyncDisposableStack();
    const own = stack.use(await startDaemon());
    const client = stack.use(createClient({ address: own.address }));
    const owned = stack.move();
    return {
      namespaces: client.namespaces,
      stores: (namespace: Namespace) => storesOf(client.scoped({ namespace })),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  });
});

function storesOf(client: Client): NamespacedStores {
  const { namespace, images, containers, leases, sandboxes, content } = client;
  const snapshotters = ["native", "overlayfs"];
  return {
    namespace,
    images,
    containers,
    leases,
    sandboxes,
    content,
    snapshotters,
    snapshotter: (name) => client.snapshotter(name),
  };
}

async function mountAll(mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  const run = promisify(execFile);
  await using undo = new AsyncDisposableStack();
  for (const { type, source, options } of mounts) {
    const words = type === "bind" ? options : [...options];
    await run("mount", [...(type === "bind" ? [] : ["-t", type]), "-o", words.join(","), source, target]);
    undo.defer(async () => void (await run("umount", [target])));
  }
  const mounted = undo.move();
  return { [Symbol.asyncDispose]: () => mounted.disposeAsync() };
}
