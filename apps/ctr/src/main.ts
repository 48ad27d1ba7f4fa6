#!/usr/bin/env node
import { runProgram } from "./cli/program.ts";

// No await at the top: the program is bundled as CommonJS, which starts faster.
void runProgram(process.argv.slice(2)).then((status) => {
  process.exitCode = status;
});
