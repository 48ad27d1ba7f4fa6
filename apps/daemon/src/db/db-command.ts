import { Command, Option } from "commander";

import type { DbFlags, DbProgram } from "./db-flags.ts";

/** This makes `berthd db`, which works on the storage of a daemon that does not run. */
export function dbCommand(program: DbProgram): Command {
  const db = new Command("db").description("look at and repair what a stopped daemon keeps");
  const add = (name: string, description: string): Command => {
    const format = new Option("--format <format>", "how to print").choices(["text", "json"]).default("text");
    return db.command(name).description(description).addOption(format);
  };
  add("check", "hold the metadata against blobs and snapshots; exits with 1 where something is broken")
    .option("--verify", "read every blob and compute its digest")
    .action(async (flags: DbFlags) => (await import("./run-db.ts")).runCheck(program, flags));
  add("repair", "show what can be repaired, images without a record among it; nothing is changed without --apply")
    .option("--apply", "do it")
    .option("--dry-run", "only show it, which is what happens without --apply")
    .option("--verify", "read every blob and compute its digest")
    .option("--release-unknown", "let the collector have what a lost database left and no namespace knows")
    .option("--namespace <name>", "namespace of images whose content no namespace knows", "default")
    .action(async (flags: DbFlags) => (await import("./run-db.ts")).runRepair(program, flags));
  db.command("export")
    .description("print every record as JSON")
    .action(async () => (await import("./run-db.ts")).runExport(program));
  add("stats", "print sizes and counts").action(async (flags: DbFlags) =>
    (await import("./run-db.ts")).runStats(program, flags),
  );
  return db;
}
