import type { Applier } from "@berth/core/diff";
import type { NamespacedStores } from "@berth/core/metadata";
import type { StoredImages } from "@berth/core/transfer";
import { codeName, codeOf, failedPrecondition } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { hostPlatform } from "@berth/oci";
import { MemoryContentStore, sha256 } from "@berth/testing";
import { beforeEach, describe, expect, it } from "vitest";

import type { LocalTransferOptions } from "../src/transfer-options.ts";
import { unpackOptions } from "../src/unpack-options.ts";

const LAYER: Descriptor = { mediaType: "a/layer", digest: sha256(new Uint8Array(1)), size: 1 };
const APPLIED: Descriptor = { ...LAYER, digest: sha256(new Uint8Array(2)) };

describe("an applier of a transfer", () => {
  let verdict: PromiseWithResolvers<void>;
  let poured: Digest[];
  let asked: Digest[];
  let applying: Promise<string>;
  let outcome: string;
  const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

  beforeEach(async () => {
    verdict = Promise.withResolvers();
    [poured, asked, outcome] = [[], [], "pending"];
    const inner: Applier = {
      async apply({ digest }) {
        poured.push(digest);
        return APPLIED;
      },
    };
    // Nothing else is asked for where an applier is made.
    const stores = {
      content: new MemoryContentStore(),
      snapshotters: ["overlayfs"],
      snapshotter: () => ({}),
    } as unknown as NamespacedStores;
    const settings = { differs: new Map([["walking", () => inner]]) } as unknown as LocalTransferOptions;
    const to: StoredImages = {
      name: "a",
      labels: new Map(),
      platforms: [],
      allMetadata: false,
      manifestLimit: 0,
      extraNames: [],
      unpacks: [{ platform: hostPlatform(), snapshotter: "overlayfs" }],
    };
    const verified = (digest: Digest): Promise<void> => {
      asked.push(digest);
      return verdict.promise;
    };
    const [options] = unpackOptions({ stores, lease: "a" }, to, settings, { verified });
    if (options === undefined) throw new Error("there is one for each target");
    applying = options.applier.apply(LAYER, []).then(
      ({ digest }) => `applied ${digest}`,
      (error: unknown) => codeName(codeOf(error)),
    );
    void applying.then((result) => (outcome = result));
    await turns();
  });

  it("has not applied a layer before its bytes are verified, though it has poured it", async () => {
    expect([poured, asked, outcome]).toEqual([[LAYER.digest], [LAYER.digest], "pending"]);
    verdict.resolve();
    expect(await applying).toBe(`applied ${APPLIED.digest}`);
  });

  it("fails where they are not those of the layer's digest", async () => {
    expect(outcome).toBe("pending");
    verdict.reject(failedPrecondition("another digest"));
    expect(await applying).toBe("failed_precondition");
  });
});
