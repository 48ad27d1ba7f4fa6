import { readFileSync } from "node:fs";
import { join } from "node:path";

import { createClient, createRouterTransport } from "@connectrpc/connect";
import { createApplier, createLayerEngine } from "@berth/diff";
import { createDiffService, Diff, type DifferOf } from "@berth/diff/service";
import { codeName, codeOf, notFound, unimplemented } from "@berth/errors";
import { NAMESPACE_HEADER } from "@berth/rpc";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

const engine = createLayerEngine();
let fixture: LayerFixture;

beforeEach(() => {
  fixture = new LayerFixture();
});
afterEach(() => fixture[Symbol.dispose]());
afterAll(() => engine[Symbol.asyncDispose]());

const headers = { [NAMESPACE_HEADER]: "test" };
const knowsNothing: DifferOf = () => ({
  apply: async () => {
    throw unimplemented("nothing is known here");
  },
});

function clientOf(...differs: DifferOf[]) {
  const service = createDiffService(differs);
  return createClient(
    Diff,
    createRouterTransport(({ service: add }) => void add(Diff, service)),
  );
}

describe("createDiffService", () => {
  it("applies with the first differ that knows the type, in the namespace of the call", async () => {
    const namespaces: string[] = [];
    const real: DifferOf = (namespace, options) => {
      namespaces.push(`${namespace} ${options?.lease}`);
      return createApplier({ content: fixture.content, engine });
    };
    const layer = await fixture.addTar([{ path: "file", type: "file", content: Buffer.from("content") }]);
    const { applied } = await clientOf(knowsNothing, real).apply(
      {
        diff: { ...layer, size: BigInt(layer.size) },
        mounts: [{ ...fixture.bind("upper"), options: ["rbind", "rw"] }],
      },
      { headers: { ...headers, "containerd-lease": "l1" } },
    );
    expect(applied).toMatchObject({ digest: layer.digest, size: BigInt(layer.size), mediaType: layer.mediaType });
    expect(readFileSync(join(fixture.directory, "upper/file"), "utf8")).toBe("content");
    expect(namespaces).toEqual(["test l1"]);
  });

  it("passes on every other failure, and asks no further differ", async () => {
    const fails: DifferOf = () => ({
      apply: async () => {
        throw notFound("blob");
      },
    });
    const layer = await fixture.addTar([]);
    const request = { diff: { ...layer, size: BigInt(layer.size) } };
    const code = async (call: Promise<unknown>): Promise<string> =>
      call.then(
        () => "ok",
        (error: unknown) => codeName(codeOf(error)),
      );
    const never: DifferOf = () => createApplier({ content: fixture.content, engine });
    expect(await code(clientOf(fails, never).apply(request, { headers }))).toBe("not_found");
    expect(await code(clientOf(knowsNothing).apply(request, { headers }))).toBe("unimplemented");
    expect(await code(clientOf().apply(request, { headers }))).toBe("unimplemented");
    expect(await code(clientOf(never).apply({}, { headers }))).toBe("invalid_argument");
    expect(await code(clientOf(never).apply({ diff: { digest: "sha256:../../etc" } }, { headers }))).toBe(
      "invalid_argument",
    );
    expect(await code(clientOf(never).apply(request))).toBe("failed_precondition");
    expect(await code(clientOf(never).diff({}, { headers }))).toBe("unimplemented");
  });
});
