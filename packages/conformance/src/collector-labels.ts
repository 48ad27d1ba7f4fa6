import type { CollectorScene } from "./collector-scene.ts";
import { collectorCase, commitSnapshot, labels, PAST, putContainer, putImage } from "./collector-scene.ts";

const scenes: readonly CollectorScene[] = [
  {
    name: "a blob lives as long as the container that it names",
    build: async ({ stores }, put) => {
      await putContainer(stores, "");
      await put("kept", { "containerd.io/gc.bref.container": "container" });
      await put("kept too", { "containerd.io/gc.bref.container/a": "container" });
      await put("named so", { "containerd.io/gc.bref.containers": "container" });
      await put("nobody's", { "containerd.io/gc.bref.container": "nobody" });
    },
    left: ["kept", "kept too"],
  },
  {
    name: "blobs and snapshots live as long as an image, a blob or a snapshot that they name, over any number of steps",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "of the blob", "", {
        "containerd.io/gc.bref.content.x": await put("of the image", { "containerd.io/gc.bref.image": "image" }),
      });
      await put("of the snapshot", { "containerd.io/gc.bref.snapshot.native/x": "of the blob" });
      await put("of another snapshotter", { "containerd.io/gc.bref.snapshot.other": "of the blob" });
      await putImage(stores, await put("target"));
    },
    left: ["image", "of the blob", "of the image", "of the snapshot", "target"],
  },
  {
    name: "an expired image lives as long as what it names",
    build: async ({ stores }, put) => {
      await putContainer(stores, "");
      const expired = { "containerd.io/gc.expire": PAST };
      await putImage(stores, await put("a"), { ...expired, "containerd.io/gc.bref.container": "container" }, "held");
      await putImage(stores, await put("b"), expired, "free");
    },
    left: ["a", "held"],
  },
  {
    name: "what names something that is named itself but does not exist lives with whoever names that",
    build: async ({ stores }, put) => {
      const missing = `sha256:${"1".repeat(64)}`;
      await putImage(stores, await put("a", { "containerd.io/gc.ref.content": missing }));
      await put("waits for it", { "containerd.io/gc.bref.content": missing });
    },
    left: ["a", "image", "waits for it"],
  },
  {
    name: "a flat lease does not reach what names the leased",
    build: async ({ stores }, put) => {
      const digest = await put("leased");
      await stores.leases.create({ id: "flat", labels: labels({ "containerd.io/gc.flat": "1" }) });
      await stores.leases.addResource("flat", { type: "content", id: digest });
      await put("names it", { "containerd.io/gc.bref.content": digest });
    },
    left: ["flat", "leased"],
  },
  {
    name: "a sandbox holds what its labels refer to, and nothing holds to a sandbox",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "kept");
      const refers = {
        "containerd.io/gc.ref.snapshot.native": "kept",
        "containerd.io/gc.ref.content.a": await put("a"),
      };
      const runtime = { name: "r" };
      await stores.sandboxes.create({ id: "s", labels: labels(refers), runtime, sandboxer: "", extensions: new Map() });
      await put("b", { "containerd.io/gc.bref.sandbox": "s" });
    },
    left: ["a", "kept"],
  },
  {
    name: "two that only name each other go",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "s", "", { "containerd.io/gc.bref.snapshot.native": "t" });
      await commitSnapshot(stores, "t", "", { "containerd.io/gc.bref.snapshot.native": "s" });
      void put;
    },
    left: [],
  },
];

/** What lives as long as something that it names itself, and what sandboxes hold. */
export const collectorBackReferenceCases = scenes.map(collectorCase);

const hoursAgo = (hours: number): string => new Date(Date.now() - hours * 3_600_000).toISOString();
const CONDITION = "containerd.io/gc.cond.snapshot";
const USED = "containerd.io/gc.cond.value-usedat";

/** A condition on a snapshot that was used two hours ago. */
const conditions: readonly (readonly [label: string, value: string, kept: boolean])[] = [
  [`${CONDITION}.native`, "usedat<3h|snapshot", true],
  [`${CONDITION}.native`, "usedat<1h|snapshot", false],
  [`${CONDITION}.native`, "usedat>1h30m|snapshot", true],
  [`${CONDITION}.native`, "usedat>3h|snapshot", false],
  [`${CONDITION}.native/any`, "usedat<1h,usedat<3h|snapshot", true],
  [`${CONDITION}.native`, "usedat<=3h|snapshot", false],
  [`${CONDITION}.native`, "usedat=2h|snapshot", false],
  [`${CONDITION}.native`, "size<3h|snapshot", false],
  [`${CONDITION}.native`, "usedat<soon|snapshot", false],
  [`${CONDITION}.native`, "usedat<3h", false],
  [`${CONDITION}.native`, "usedat<3h|other", false],
  [`${CONDITION}.other`, "usedat<3h|snapshot", false],
];

/** References under a condition: when a snapshot was used last. */
export const collectorConditionCases = [
  ...conditions.map(([label, value, kept]): CollectorScene => ({
    name: `${label}=${value} on an image ${kept ? "keeps" : "does not keep"} a snapshot used two hours ago`,
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "snapshot", "", { [USED]: hoursAgo(2) });
      await putImage(stores, await put("target"), { [label]: value });
    },
    left: kept ? ["image", "snapshot", "target"] : ["image", "target"],
  })),
  ...[true, false].map((root): CollectorScene => ({
    name: `a condition counts on a blob ${root ? "that is held" : "only as long as that is held"}`,
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "snapshot", "", { [`${USED}.a`]: "no time", [`${USED}.b`]: hoursAgo(0) });
      const rooted: Record<string, string> = root ? { "containerd.io/gc.root": "1" } : {};
      await put("blob", { [`${CONDITION}.native`]: "usedat<5m|snapshot", ...rooted });
    },
    left: root ? ["blob", "snapshot"] : [],
  })),
].map(collectorCase);
