import type { Image } from "@berth/core/images";
import { Code, codeOf } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { describe, expect, it } from "vitest";

import { danglingImages, parsePruneFilters, usedImages } from "./image-use.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");
const digestOf = (letter: string) => parseDigest(`sha256:${letter.repeat(64)}`);
const image = (name: string, letter = "a", labels: Image["labels"] = new Map(), createdAt = NOW): Image => ({
  name,
  labels,
  target: { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digestOf(letter), size: 1 },
  createdAt,
  updatedAt: createdAt,
});

describe("danglingImages", () => {
  it.each([
    [["example.org/a:1"], []],
    [[digestOf("a")], [digestOf("a")]],
    [[`import-2026-11-21@${digestOf("a")}`], [`import-2026-11-21@${digestOf("a")}`]],
    // Pulled by its digest: whoever did so knows it by that.
    [[`example.org/a@${digestOf("a")}`], []],
    // Kubernetes' names of one image.
    [["example.org/a:1", digestOf("a"), `example.org/a@${digestOf("a")}`], []],
    [["not/a/digest@sha256:12"], []],
  ])("of %j are %j", (names, expected) => {
    expect(danglingImages(names.map((name) => image(name))).map(({ name }) => name)).toEqual(expected);
  });
});

describe("usedImages", () => {
  const nothing = { containers: [], leased: [], tasks: new Map(), blobs: [], ingests: [], snapshots: [] };
  const inventory = { ...nothing, snapshotters: [], sandboxLabels: [] };

  it("are those held by a lease, by target or name, and pinned ones", () => {
    const pinned = new Map([["io.cri-containerd.pinned", "pinned"]]);
    const images = [image("a", "a"), image("b", "b"), image("c", "c"), image("d", "d", pinned)];
    const leased = [
      { type: "content", id: digestOf("a") },
      { type: "images", id: "b" },
      { type: "ingests", id: "c" },
    ];
    expect([...usedImages({ ...inventory, images, leased })]).toEqual(["a", "b", "d"]);
  });
});

describe("parsePruneFilters", () => {
  const old = image("old", "a", new Map([["team", "red"]]), NOW - 48 * 3_600_000);
  const young = image("young", "b", new Map(), NOW - 3_600_000);

  it.each([
    [[], ["old", "young"]],
    [["until=24h"], ["old"]],
    [["until=2026-11-20"], ["old"]],
    [["label=team"], ["old"]],
    [["label=team=red"], ["old"]],
    [["label=team=blue"], []],
    [["label!=team"], ["young"]],
    [
      ["until=1m", "label!=team=blue"],
      ["old", "young"],
    ],
  ])("%j chooses %j", (texts, expected) => {
    const { matches, daemonFilters } = parsePruneFilters(texts, NOW);
    expect([old, young].filter(matches).map(({ name }) => name)).toEqual(expected);
    expect(daemonFilters).toEqual([]);
  });

  it("leaves filters of lists to the daemon", () => {
    expect(parsePruneFilters(["name~=busybox", "labels.a==b", "label==x"], NOW).daemonFilters).toEqual([
      "name~=busybox",
      "labels.a==b",
      "label==x",
    ]);
  });

  // A negation that is ignored removes the wrong side.
  it.each(["until=yesterday", "until!=24h", "until!=2026-11-20"])("refuses %s", (text) => {
    expect(codeOf(attempt(() => parsePruneFilters([text], NOW)))).toBe(Code.InvalidArgument);
  });
});

function attempt(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}
