import { silentLogger } from "@berth/core/log";
import { formatDigest } from "@berth/oci";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { RecordIndex } from "../database/record-index.ts";
import { blobs } from "../database/tables.ts";
import { Collectibles } from "./collectibles.ts";
import { Marker } from "./marker.ts";
import { referenceRules } from "./references.ts";
import { orderForRemoval } from "./sweep.ts";

const digestOf = (index: number) => formatDigest("sha256", index.toString(16).padStart(64, "0"));

/** Blobs of which each refers to others, as the lists of their numbers say. */
async function markerOf(references: readonly (readonly number[])[]) {
  const index = new RecordIndex();
  const bucket = index.bucket(blobs, "test");
  for (const [number, targets] of references.entries()) {
    const digest = digestOf(number);
    const labels = new Map(targets.map((to, at) => [`containerd.io/gc.ref.content.${at}`, digestOf(to)]));
    bucket.set(digest, { digest, size: 1, labels, createdAt: 0, updatedAt: 0 });
  }
  const collectibles = await Collectibles.begin([], silentLogger);
  const rules = referenceRules({ index, collectibles, isIngestOpen: () => false, now: 0, log: silentLogger });
  return { bucket, marker: new Marker(index, rules) };
}

describe("orderForRemoval", () => {
  it("puts each record before all that it refers to, and loses none", async () => {
    const graph = fc.integer({ min: 1, max: 30 }).chain((count) =>
      fc.tuple(
        // Only to higher numbers: without circles.
        fc.tuple(
          ...Array.from({ length: count }, (_, from) => fc.uniqueArray(fc.integer({ min: from + 1, max: count }))),
        ),
        fc.shuffledSubarray([...Array(count).keys()], { minLength: count }),
      ),
    );
    await fc.assert(
      fc.asyncProperty(graph, async ([references, order]) => {
        const { bucket, marker } = await markerOf(references);
        const nodes = order.map((number) => ({ bucket, key: digestOf(number) }));
        const ordered = (await orderForRemoval(nodes, marker)).map(({ key }) => key);
        expect(ordered.toSorted()).toEqual(nodes.map(({ key }) => key).toSorted());
        for (const [from, targets] of references.entries()) {
          for (const to of targets.filter((target) => target < references.length)) {
            expect(ordered.indexOf(digestOf(from))).toBeLessThan(ordered.indexOf(digestOf(to)));
          }
        }
      }),
    );
  });

  it("ends where references go round in a circle", async () => {
    const { bucket, marker } = await markerOf([[1], [2], [0, 2]]);
    const nodes = [0, 1, 2].map((number) => ({ bucket, key: digestOf(number) }));
    expect(await orderForRemoval(nodes, marker)).toHaveLength(3);
  });
});
