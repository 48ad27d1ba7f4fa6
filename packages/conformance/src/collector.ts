import { parseDigest } from "@berth/oci";

import type { CollectorScene } from "./collector-scene.ts";
import {
  collectorCase,
  commitSnapshot,
  FUTURE,
  labels,
  PAST,
  putContainer,
  putImage,
  putText,
} from "./collector-scene.ts";

const scenes: readonly CollectorScene[] = [
  { name: "a blob without reference goes", build: async (_, put) => void (await put("lonely")), left: [] },
  {
    name: "a blob with gc.root stays, whatever the value",
    build: async (_, put) => void (await put("root", { "containerd.io/gc.root": "no" })),
    left: ["root"],
  },
  {
    name: "an image holds its target and what labels of blobs refer to",
    build: async ({ stores }, put) => {
      const config = await put("config");
      const layer = await put("layer");
      const other = await put("other");
      const manifest = await put("manifest", {
        "containerd.io/gc.ref.content.config": config,
        "containerd.io/gc.ref.content.l.0": layer,
        "containerd.io/gc.ref.content/x": other,
        "containerd.io/gc.ref.contents": await put("not referred to"),
      });
      await putImage(stores, manifest);
    },
    left: ["config", "image", "layer", "manifest", "other"],
  },
  {
    name: "blobs that refer to each other without a root go",
    build: async ({ stores }, put) => {
      const one = await put("one");
      const two = await put("two", { "containerd.io/gc.ref.content": one });
      await stores.content.update({
        digest: parseDigest(one),
        labels: labels({ "containerd.io/gc.ref.content": two }),
      });
    },
    left: [],
  },
  {
    name: "an expired image goes with what it held",
    build: async ({ stores }, put) => putImage(stores, await put("manifest"), { "containerd.io/gc.expire": PAST }),
    left: [],
  },
  {
    name: "an image that expires later stays, and so does one whose time cannot be read",
    build: async ({ stores }, put) => {
      await putImage(stores, await put("a"), { "containerd.io/gc.expire": FUTURE }, "later");
      await putImage(stores, await put("b"), { "containerd.io/gc.expire": "tomorrow" }, "never");
    },
    left: ["a", "b", "later", "never"],
  },
  {
    name: "an expired image stays that another object refers to",
    build: async ({ stores }, put) => {
      await putImage(stores, await put("a"), { "containerd.io/gc.expire": PAST }, "old");
      await putImage(stores, await put("b"), { "containerd.io/gc.ref.image.x": "old" }, "new");
    },
    left: ["a", "b", "new", "old"],
  },
  {
    name: "an image holds snapshots of the snapshotter that a label names, with their parents",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "base");
      await commitSnapshot(stores, "top", "base");
      await commitSnapshot(stores, "aside", "base");
      const config = await put("config", { "containerd.io/gc.ref.snapshot.native": "top" });
      await putImage(stores, config, { "containerd.io/gc.ref.snapshot.other": "aside" });
    },
    left: ["base", "config", "image", "top"],
  },
  {
    name: "a container holds its snapshot and what its labels refer to",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "base");
      await stores.snapshotter("native").prepare("rw", "base");
      await stores.snapshotter("native").prepare("unused", "base");
      await commitSnapshot(stores, "labelled");
      const content = await put("content");
      await putContainer(stores, "rw", {
        "containerd.io/gc.ref.snapshot.native/x": "labelled",
        "containerd.io/gc.ref.content.a": content,
      });
    },
    left: ["base", "content", "labelled", "rw"],
  },
  {
    name: "a snapshot with gc.root stays, with its parent",
    build: async ({ stores }) => {
      await commitSnapshot(stores, "base");
      await commitSnapshot(stores, "top", "base", { "containerd.io/gc.root": "x" });
    },
    left: ["base", "top"],
  },
  {
    name: "a lease holds what was made through it, and all that this refers to",
    build: async ({ stores, leased }, put) => {
      await stores.leases.create({ id: "lease", labels: new Map() });
      const layer = await put("layer");
      await putText(leased("lease").content, "manifest", { "containerd.io/gc.ref.content": layer });
      await commitSnapshot(leased("lease"), "base");
      await commitSnapshot(leased("lease"), "top", "base");
      await (await leased("lease").content.writer("ingest"))[Symbol.asyncDispose]();
    },
    left: ["base", "ingest", "layer", "lease", "manifest", "top"],
  },
  {
    name: "an expired lease holds nothing, its ingests neither",
    build: async ({ stores, leased }) => {
      await stores.leases.create({ id: "lease", labels: labels({ "containerd.io/gc.expire": PAST }) });
      await putText(leased("lease").content, "blob");
      await (await leased("lease").content.writer("ingest"))[Symbol.asyncDispose]();
    },
    left: [],
  },
  {
    name: "a flat lease holds only what it names: parents of snapshots and targets of images besides",
    build: async ({ stores, leased }, put) => {
      await stores.leases.create({ id: "flat", labels: labels({ "containerd.io/gc.flat": FUTURE }) });
      const layer = await put("layer");
      const top = await putText(leased("flat").content, "index", { "containerd.io/gc.ref.content": layer });
      await commitSnapshot(stores, "base");
      const config = await put("config");
      await commitSnapshot(stores, "top", "base", { "containerd.io/gc.ref.content": config });
      await stores.leases.addResource("flat", { type: "snapshots/native", id: "top" });
      const image = await put("target", { "containerd.io/gc.ref.content": top });
      await putImage(stores, image, { "containerd.io/gc.expire": PAST });
      await stores.leases.addResource("flat", { type: "images", id: "image" });
    },
    left: ["base", "flat", "image", "index", "target", "top"],
  },
  {
    name: "what is reached flatly and fully keeps what it refers to, whichever comes first",
    build: async ({ stores, leased }, put) => {
      const layer = await put("layer");
      for (const [id, extra] of [
        ["flat1", { "containerd.io/gc.flat": "1" }],
        ["full", {}],
        ["flat2", { "containerd.io/gc.flat": "1" }],
      ] as const) {
        await stores.leases.create({ id, labels: labels(extra) });
        await putText(leased(id).content, "manifest", { "containerd.io/gc.ref.content": layer });
      }
    },
    left: ["flat1", "flat2", "full", "layer", "manifest"],
  },
  {
    name: "an ingest without a lease lives for a day, and an open one as long as it is open",
    build: async ({ stores }) => void (await (await stores.content.writer("ingest"))[Symbol.asyncDispose]()),
    left: ["ingest"],
  },
];

/** What every collector keeps and takes. */
export const collectorCases = scenes.map(collectorCase);

export type { CollectedStores, CollectorSubject } from "./collector-scene.ts";
export { commitSnapshot, labels, PAST, putContainer, putImage, putText } from "./collector-scene.ts";
export { collectorBackReferenceCases, collectorConditionCases } from "./collector-labels.ts";
