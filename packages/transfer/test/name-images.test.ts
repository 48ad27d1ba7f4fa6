import type { ImageNaming, StoredImages } from "@berth/core/transfer";
import type { Descriptor } from "@berth/oci";
import { sha256 } from "@berth/testing";
import { expect, it } from "vitest";

import { archivedNamesOf, namesOf } from "../src/name-images.ts";

const target: Descriptor = { mediaType: "a/manifest", digest: sha256(new Uint8Array(1)), size: 1 };
const annotated = (key: string, value: string): Descriptor => ({ ...target, annotations: { [key]: value } });
const named = annotated("io.containerd.image.name", "r.test/i:1");
const tagged = annotated("org.opencontainers.image.ref.name", "latest");
const byDigest = (name: string): string => `${name}@${target.digest}`;

const prefix = (name: string, more: Partial<ImageNaming> = {}): ImageNaming => ({
  name,
  isPrefix: true,
  allowOverwrite: false,
  addDigest: false,
  skipNamedDigest: false,
  ...more,
});
const store = (name: string, ...extraNames: readonly ImageNaming[]): StoredImages => ({
  name,
  labels: new Map([["l", "m"]]),
  extraNames,
  platforms: [],
  allMetadata: false,
  manifestLimit: 0,
  unpacks: [],
});

it.each<readonly [what: string, target: Descriptor, naming: ImageNaming, names: readonly string[]]>([
  ["a full name of the prefix", named, prefix("r.test/i"), ["r.test/i:1"]],
  ["a full name of another", named, prefix("r.test/o"), []],
  ["a full name of another that is taken", named, prefix("r.test/o", { allowOverwrite: true }), ["r.test/i:1"]],
  ["a tag", tagged, prefix("r.test/o"), ["r.test/o:latest"]],
  ["no name", target, prefix("r.test/i"), []],
  ["name and digest", named, prefix("r.test/i", { addDigest: true }), ["r.test/i:1", byDigest("r.test/i")]],
  ["a digest but where named", named, prefix("r.test/i", { addDigest: true, skipNamedDigest: true }), ["r.test/i:1"]],
  ["a digest for no name", target, prefix("i", { addDigest: true, skipNamedDigest: true }), [byDigest("i")]],
  [
    "a digest for a name that does not count",
    named,
    prefix("o", { addDigest: true, skipNamedDigest: true }),
    [byDigest("o")],
  ],
])("what an archive describes is named by %s", (_, described, naming, names) => {
  expect(archivedNamesOf(described, store("", naming)).map(({ name }) => name)).toEqual(names);
});

it("the archive itself has the name of the destination, and its digest where a prefix asks for that", () => {
  const to = store(
    "r.test/i:index",
    prefix("r.test/i", { addDigest: true, skipNamedDigest: true }),
    prefix("r.test/o"),
  );
  expect(namesOf(target, to).map(({ name }) => name)).toEqual(["r.test/i:index", byDigest("r.test/i")]);
  expect(namesOf(target, store("", prefix("r.test/i")))).toEqual([]);
});

it("further names go with the image that has the name of the destination", () => {
  const naming = prefix("r.test/i", { addDigest: true });
  const bound = expect.objectContaining({
    labels: new Map([
      ["l", "m"],
      ["containerd.io/gc.bref.image", "top"],
      ["containerd.io/gc.expire", expect.any(String)],
    ]),
  });
  expect(archivedNamesOf(named, store("top", naming))).toEqual([bound, bound]);
  expect(namesOf(target, store("top", naming))).toEqual([
    expect.objectContaining({ labels: new Map([["l", "m"]]) }),
    bound,
  ]);
  expect(archivedNamesOf(named, store("", naming))[0]?.labels).toEqual(new Map([["l", "m"]]));
});
