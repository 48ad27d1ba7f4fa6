// Writes the reference of @berth/client into docs/api, which is not committed: npm run docs:api. With --check it writes nothing, and
// fails on a link that leads nowhere, a type that is used but cannot be reached, and an export that nothing is said of.
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Application, LogLevel } from "typedoc";

import { root } from "./lib/paths.mjs";

const folder = join(root, "packages/client");
const { exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
/** Paths as TypeDoc names modules by them, and the doors that they are. */
const doors = new Map(
  Object.entries(exports).map(([door, { "@berth/source": path }]) => [
    path.replace(/^\.\/|(\/index)?\.ts$/g, ""),
    `@berth/client${door.slice(1)}`,
  ]),
);
const isCheck = process.argv.includes("--check");

const application = await Application.bootstrap({
  name: "@berth/client",
  readme: join(folder, "README.md"),
  basePath: folder,
  displayBasePath: folder,
  tsconfig: join(folder, "tsconfig.json"),
  entryPoints: Object.values(exports).map((door) => join(folder, door["@berth/source"])),
  // `npm run check` has done it, by the compiler that the code is written for.
  skipErrorChecking: true,
  // Only text: what the sources' hosts look like is nobody's affair here.
  disableGit: true,
  disableSources: true,
  excludePrivate: true,
  excludeInternal: true,
  // What classes have from Node or from an interface of another package is described there.
  excludeExternals: true,
  requiredToBeDocumented: ["Class", "Enum", "Function", "Interface", "TypeAlias", "Variable"],
  validation: { invalidLink: true, notDocumented: true, notExported: true, rewrittenLink: false },
  logLevel: LogLevel.Warn,
});
const project = await application.convert();
if (project !== undefined) {
  for (const module of project.children ?? []) module.name = doors.get(module.name) ?? module.name;
  application.validate(project);
  if (!isCheck) await application.generateDocs(project, join(root, "docs/api"));
}
if (project === undefined || application.logger.hasErrors() || application.logger.hasWarnings()) process.exitCode = 1;
