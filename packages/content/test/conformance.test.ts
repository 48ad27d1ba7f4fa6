import { runConformance } from "@berth/conformance";
import { contentCases } from "@berth/conformance/content";
import { temporaryDirectory } from "@berth/testing";
import * as vitest from "vitest";

import { createLocalContentStore } from "../src/local-content-store.ts";

runConformance(vitest, "local content store", contentCases, async () => {
  const directory = await temporaryDirectory("content");
  const store = await createLocalContentStore({ root: directory.path });
  return { store, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
});
