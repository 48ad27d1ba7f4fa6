import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { temporaryDirectory } from "@berth/testing";
import { createTtrpcServer } from "@berth/ttrpc";
import { expect, it } from "vitest";

import { LocalShimManager } from "../src/shim-manager.ts";
import { eventually } from "./harness.ts";

it("openBundles lets go of a shim that it cannot ask about, and harms it not", async () => {
  await using directory = await temporaryDirectory("shim-bundles");
  const { path } = directory;
  await using server = createTtrpcServer();
  const address = `unix://${path}/s`;
  await using _listener = await server.listen(address);
  const bundle = join(path, "state", "one", "sandbox");
  await mkdir(bundle, { recursive: true });
  await writeFile(join(bundle, "bootstrap.json"), JSON.stringify({ version: 3, address, protocol: "ttrpc" }));
  await using shims = new LocalShimManager({ grpcAddress: "/g", ttrpcAddress: "/t", defaultShim: "/bin/false" });
  let connections = 0;
  const isWanted = async (): Promise<boolean> => {
    await eventually(() => server.connectionCount === 1);
    connections = server.connectionCount;
    throw new Error("the database is busy");
  };
  await using _bundles = await shims.openBundles({
    stateDir: join(path, "state"),
    rootDir: join(path, "root"),
    isWanted,
  });
  expect(connections).toBe(1);
  await eventually(() => server.connectionCount === 0);
});
