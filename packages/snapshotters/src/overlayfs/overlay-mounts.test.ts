import { describe, expect, it } from "vitest";

import { type OverlayMountInput, overlayMounts } from "./overlay-mounts.ts";

const input: OverlayMountInput = {
  kind: "active",
  labels: new Map(),
  upper: "/s/3/fs",
  work: "/s/3/work",
  lower: [],
  options: ["volatile", "index=off"],
  remapIds: true,
};
const mapped = new Map([
  ["containerd.io/snapshot/uidmapping", "0:1000:65536"],
  ["containerd.io/snapshot/gidmapping", "0:2000:65536"],
]);
const maps = ["uidmap=0:1000:65536", "gidmap=0:2000:65536"];
const overlay = (...options: string[]) => ({ type: "overlay", source: "overlay", target: "", options });
const bind = (source: string, ...options: string[]) => ({ type: "bind", source, target: "", options });

describe("overlayMounts", () => {
  it.each<[string, Partial<OverlayMountInput>, ReturnType<typeof bind>]>([
    ["active without parent", {}, bind("/s/3/fs", "rw", "rbind")],
    ["view without parent", { kind: "view" }, bind("/s/3/fs", "ro", "rbind")],
    ["view of one parent", { kind: "view", lower: ["/s/1/fs"] }, bind("/s/1/fs", "ro", "rbind")],
    [
      "active on one parent",
      { lower: ["/s/1/fs"] },
      overlay("workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/1/fs", "volatile", "index=off"),
    ],
    [
      "view of two layers",
      { kind: "view", lower: ["/s/2/fs", "/s/1/fs"] },
      overlay("lowerdir=/s/2/fs:/s/1/fs", "volatile", "index=off"),
    ],
    [
      "active on two layers with mapped ids",
      { lower: ["/s/2/fs", "/s/1/fs"], labels: mapped },
      overlay(...maps, "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs", "volatile", "index=off"),
    ],
    ["mapped ids without parent", { labels: mapped }, bind("/s/3/fs", ...maps, "rw", "rbind")],
    ["mapped ids that the kernel cannot mount", { labels: mapped, remapIds: false }, bind("/s/3/fs", "rw", "rbind")],
  ])("%s", (_name, change, expected) => {
    expect(overlayMounts({ ...input, ...change })).toEqual([expected]);
  });
});
