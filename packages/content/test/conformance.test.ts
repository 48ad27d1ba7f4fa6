import { runConformance } from "@berth/conformance";
import { contentCases } from "@berth/conformance/content";
import { temporaryDirectory } from "@berth/testing";
import * as vitest from "vitest";

import { createLocalContentStore } from "../src/local-content-store.ts";
import { openContentStore } from "../src/open-content-store.ts";

runConformance(vitest, "local content store", contentCases, async () => {
  const directory = await temporaryDirectory("content");
  const store = await createLocalContentStore({ root: directory.path });
  return { store, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
});

runConformance(vitest, "local content store of a daemon", contentCases, async () => {
  await using made = new AsyncDisposableStack();
  const directory = made.use(await temporaryDirectory("content"));
  const { store } = made.use(await openContentStore({ root: directory.path }));
  const owned = made.move();
  return { store, [Symbol.asyncDispose]: () => owned.disposeAsync() };
});
