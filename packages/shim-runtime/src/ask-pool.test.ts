import { connect } from "node:net";
import { join } from "node:path";

import { Pool } from "@berth/api/berth/shim/v1/shim";
import { unavailable } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { createTtrpcServer, ttrpcService } from "@berth/ttrpc";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { askPool, decodeReserved } from "./ask-pool.ts";

describe("askPool against a ttrpc server", () => {
  const stack = new AsyncDisposableStack();
  const asked: { id: string; bundle: string }[] = [];
  let path: string;
  let withoutPool: string;

  beforeAll(async () => {
    const directory = stack.use(await temporaryDirectory("pool")).path;
    path = join(directory, "pool");
    withoutPool = join(directory, "other");
    const reserve = ({ id, bundle }: { id: string; bundle: string }) => {
      asked.push({ id, bundle });
      if (id === "fail") throw unavailable("ending");
      return { accepted: id !== "full", pid: 300 };
    };
    const server = stack.use(createTtrpcServer({ services: [ttrpcService(Pool, { reserve })] }));
    await server.listen({ path });
    await stack.use(createTtrpcServer()).listen({ path: withoutPool });
  });
  afterAll(() => stack.disposeAsync());

  it.each([
    ["c1", true],
    ["full", false],
    ["fail", undefined],
  ])("%s: %s", async (id, expected) => {
    const bundle = `/b/${"é".repeat(100)}`;
    expect(await askPool(connect(path), { id, bundle })).toBe(expected);
    expect(asked.at(-1)).toMatchObject({ id, bundle });
  });

  it("tells a shim that is no pool", async () => {
    expect(await askPool(connect(withoutPool), { id: "c1", bundle: "/b" })).toBe("no pool");
  });
});

describe("decodeReserved", () => {
  it("never throws and never waits for more than a frame", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const framed = Uint8Array.of(0, 0, 0, bytes.length, 0, 0, 0, 1, 2, 0, ...bytes);
        expect([true, false, "no pool", undefined]).toContain(decodeReserved(framed));
        decodeReserved(bytes);
      }),
    );
  });
});
