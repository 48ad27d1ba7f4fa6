import type { NamespacedStores } from "@berth/core/metadata";
import type { Namespace, NamespaceStore } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { Code, messageOf } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** A namespace store under test, empty, and the stores of its namespaces. */
export interface NamespaceSubject extends AsyncDisposable {
  readonly namespaces: NamespaceStore;
  stores(name: Namespace): NamespacedStores;
}

const one = parseNamespace("one");
const two = parseNamespace("two");
const target = { mediaType: "m", digest: parseDigest(`sha256:${"a".repeat(64)}`), size: 1 };

/** What every namespace store does. */
export const namespaceCases: readonly ConformanceCase<NamespaceSubject>[] = [
  {
    name: "create keeps labels and refuses a name that is taken",
    async run({ namespaces }) {
      const labels = new Map([
        ["k", "v"],
        ["__proto__", "w"],
      ]);
      await namespaces.create(one, labels);
      expect(await namespaces.labels(one)).toEqual(labels);
      await expectCode(namespaces.create(one, new Map()), Code.AlreadyExists);
      await expectCode(namespaces.create(two, new Map([["k", "v".repeat(4096)]])), Code.InvalidArgument);
      expect(await Array.fromAsync(namespaces.list())).toEqual([one]);
    },
  },
  {
    name: "an unknown namespace has no labels and cannot be deleted; setting one brings it into being",
    async run({ namespaces }) {
      expect(await namespaces.labels(one)).toEqual(new Map());
      await expectCode(namespaces.delete(one), Code.NotFound);
      await namespaces.setLabels(one, new Map([["k", "v"]]));
      expect(await Array.fromAsync(namespaces.list())).toEqual([one]);
      expect(await namespaces.labels(one)).toEqual(new Map([["k", "v"]]));
    },
  },
  {
    name: "setLabels changes the labels given, all or none; an empty value deletes one",
    async run({ namespaces }) {
      await namespaces.create(one, new Map([["a", "1"]]));
      await namespaces.setLabels(
        one,
        new Map([
          ["b.c", "2"],
          ["a", ""],
        ]),
      );
      expect(await namespaces.labels(one)).toEqual(new Map([["b.c", "2"]]));
      const tooLong = new Map([
        ["b", "3"],
        ["a", "v".repeat(4096)],
      ]);
      await expectCode(namespaces.setLabels(one, tooLong), Code.InvalidArgument);
      expect(await namespaces.labels(one)).toEqual(new Map([["b.c", "2"]]));
    },
  },
  {
    name: "writing an object brings its namespace into being, in the order of the names",
    async run({ namespaces, stores }) {
      await stores(two).images.create({ name: "i", labels: new Map(), target });
      await stores(one).leases.create({ id: "l", labels: new Map() });
      expect(await Array.fromAsync(namespaces.list())).toEqual([one, two]);
    },
  },
  {
    name: "objects of one namespace are unknown to the others",
    async run({ stores }) {
      await stores(one).images.create({ name: "i", labels: new Map(), target });
      await expectCode(stores(two).images.get("i"), Code.NotFound);
      await stores(two).images.create({ name: "i", labels: new Map(), target: { ...target, size: 2 } });
      expect((await stores(one).images.get("i")).target.size).toBe(1);
    },
  },
  {
    name: "delete of a namespace that is not empty names what is left",
    async run({ namespaces, stores }) {
      await stores(one).images.create({ name: "i", labels: new Map(), target });
      const error = await namespaces.delete(one).catch((reason: unknown) => reason);
      await expectCode(Promise.reject(error), Code.FailedPrecondition);
      expect(messageOf(error)).toContain("images");
      expect(messageOf(error)).not.toContain("containers");
      await stores(one).images.delete("i");
      await namespaces.delete(one);
      expect(await Array.fromAsync(namespaces.list())).toEqual([]);
    },
  },
  {
    name: "leases do not keep a namespace, and go with it",
    async run({ namespaces, stores }) {
      await stores(one).leases.create({ id: "l", labels: new Map() });
      await stores(one).leases.addResource("l", { id: "i", type: "images" });
      await namespaces.delete(one);
      expect(await Array.fromAsync(stores(one).leases.list())).toEqual([]);
      await stores(one).leases.create({ id: "l", labels: new Map() });
      expect(await Array.fromAsync(stores(one).leases.listResources("l"))).toEqual([]);
    },
  },
];
