import { invalidArgument } from "@berth/errors";
import { parsePlatform } from "@berth/oci";
import { generateSpec } from "@berth/oci/spec";

import { defineCommand } from "../cli/command.ts";
import { stringFlag } from "../cli/flags.ts";
import { formatJson } from "../output/json.ts";
import { print } from "../output/print.ts";

export const spec = defineCommand({
  usage: "",
  description: "Needs no daemon.",
  flags: { platform: stringFlag("platform of the specification; only Linux has one here") },
  async run({ flags, session }) {
    if (flags.platform !== "" && parsePlatform(flags.platform).os !== "linux") {
      throw invalidArgument(`platform ${flags.platform}: only specifications for Linux are made`);
    }
    const made = generateSpec({ namespace: session.namespace, id: "" });
    print(`${formatJson(made)}\n`);
  },
});
