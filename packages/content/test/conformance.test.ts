import { runConformance } from "@berth/conformance";
import { contentCases } from "@berth/conformance/content";
import * as vitest from "vitest";

import { createLocalContentStore } from "../src/local-content-store.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

runConformance(vitest, "local content store", contentCases, async () => {
  const directory = await temporaryDirectory();
  const store = await createLocalContentStore({ root: directory.path });
  return { store, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
});
