import { describe, expect, it } from "vitest";

import { type ErofsMountInput, erofsMounts } from "./erofs-mounts.ts";

const directory = { kind: "directory", upper: "/s/3/fs", work: "/s/3/work" } as const;
const block = { kind: "block", path: "/s/3/rwlayer.img", size: 1048576 } as const;
const input: ErofsMountInput = {
  kind: "active",
  labels: new Map(),
  writable: directory,
  empty: "/s/3/fs",
  own: undefined,
  lower: [],
  options: ["index=off"],
  remapIds: true,
};
const one = { path: "/s/1/layer.erofs" };
const two = { path: "/s/2/layer.erofs", verity: "/s/2/layer.erofs.dmverity" };
const fused = { path: "/s/2/fsmeta.erofs", devices: [one.path, two.path] };
const mapped = new Map([
  ["containerd.io/snapshot/uidmapping", "0:1000:65536"],
  ["containerd.io/snapshot/gidmapping", "0:2000:65536"],
]);

const mount = (type: string, source: string, ...options: string[]) => ({ type, source, target: "", options });
const image = mount("erofs", one.path, "ro", "loop");
const checked = mount("erofs", two.path, "ro", "loop", `X-containerd.dmverity=${two.verity}`);
const merged = mount("erofs", fused.path, "ro", "loop", `device=${one.path}`, `device=${two.path}`);
const made = mount(
  "mkfs/ext4",
  block.path,
  "X-containerd.mkfs.fs=ext4",
  "X-containerd.mkfs.size=1048576",
  "rw",
  "loop",
);
const overlay = (...options: string[]) => mount("format/mkdir/overlay", "overlay", ...options);
const upper = ["workdir=/s/3/work", "upperdir=/s/3/fs"];
const inner = [
  "X-containerd.mkdir.path={{ mount 0 }}/upper:0755",
  "X-containerd.mkdir.path={{ mount 0 }}/work:0755",
  "workdir={{ mount 0 }}/work",
  "upperdir={{ mount 0 }}/upper",
];

describe("erofsMounts", () => {
  it.each<[string, Partial<ErofsMountInput>, ReturnType<typeof mount>[]]>([
    ["active without parent", {}, [mount("bind", "/s/3/fs", "rw", "rbind")]],
    ["view of nothing", { kind: "view" }, [mount("bind", "/s/3/fs", "ro", "rbind")]],
    ["view of nothing in block mode", { kind: "view", writable: block }, [mount("bind", "/s/3/fs", "ro", "rbind")]],
    [
      "active without parent in block mode",
      { writable: block },
      [
        made,
        mount(
          "format/mkdir/bind",
          "{{ mount 0 }}/upper",
          "X-containerd.mkdir.path={{ mount 0 }}/upper:0755",
          "rw",
          "rbind",
        ),
      ],
    ],
    ["active that has its layer", { own: two }, [checked]],
    ["view of one layer", { kind: "view", lower: [one] }, [image]],
    [
      "view of two layers",
      { kind: "view", lower: [two, one] },
      [checked, image, overlay("lowerdir={{ overlay 0 1 }}", "index=off")],
    ],
    ["active on one layer", { lower: [one] }, [image, overlay(...upper, "lowerdir={{ mount 0 }}", "index=off")]],
    [
      "active on two layers with mapped ids",
      { lower: [two, one], labels: mapped },
      [
        checked,
        image,
        overlay(...upper, "uidmap=0:1000:65536", "gidmap=0:2000:65536", "lowerdir={{ overlay 0 1 }}", "index=off"),
      ],
    ],
    [
      "mapped ids that the kernel cannot mount",
      { lower: [one], labels: mapped, remapIds: false },
      [image, overlay(...upper, "lowerdir={{ mount 0 }}", "index=off")],
    ],
    [
      "active on two layers in block mode",
      { lower: [two, one], writable: block },
      [made, checked, image, overlay(...inner, "lowerdir={{ overlay 1 2 }}", "index=off")],
    ],
    [
      "active on merged layers in block mode",
      { lower: [fused], writable: block },
      [made, merged, overlay(...inner, "lowerdir={{ mount 1 }}", "index=off")],
    ],
    [
      "view of merged layers",
      { kind: "view", lower: [fused] },
      [merged, mount("format/bind", "{{ mount 0 }}", "ro", "rbind")],
    ],
    [
      "view of a layer on merged ones",
      { kind: "view", lower: [one, fused] },
      [image, merged, overlay("lowerdir={{ overlay 0 1 }}", "index=off")],
    ],
  ])("%s", (_name, change, expected) => {
    expect(erofsMounts({ ...input, ...change })).toEqual(expected);
  });
});
