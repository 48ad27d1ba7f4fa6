#!/usr/bin/env -S node --
import { pathToFileURL } from "node:url";
import { startupSnapshot } from "node:v8";

import { preloadCommands } from "./cli/preload.ts";
import { runProgram } from "./cli/program.ts";

// No await at the top: the program is bundled as CommonJS, which starts faster.
if (startupSnapshot.isBuildingSnapshot()) {
  void preloadCommands();
  startupSnapshot.setDeserializeMainFunction(() => {
    // Where the bundle is now; while the snapshot was made it stood elsewhere.
    const [, file = ""] = process.argv;
    Object.assign(globalThis, { __fileUrl: pathToFileURL(file).href });
    main();
  });
} else {
  main();
}

function main(): void {
  void runProgram(process.argv.slice(2)).then((status) => {
    process.exitCode = status;
  });
}
