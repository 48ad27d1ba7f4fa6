// Fetches the programs that the tests hold berth against; see lib/debian.mjs. Prints where they are.
import { debianRoot, ensureTestPackages } from "./lib/debian.mjs";
import { step } from "./lib/run.mjs";

await step("Debian packages", ensureTestPackages);
console.log(debianRoot);
