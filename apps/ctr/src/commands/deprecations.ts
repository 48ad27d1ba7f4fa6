import { invalidArgument } from "@berth/errors";

import { defineCommand } from "../cli/command.ts";
import { stringFlag } from "../cli/flags.ts";
import { formatJson } from "../output/json.ts";
import { print } from "../output/print.ts";
import { formatTable, NARROW } from "../output/table.ts";
import { formatJsonTime } from "../output/time.ts";

export const list = defineCommand({
  usage: "",
  flags: { format: stringFlag("json, or nothing for a table") },
  async run({ flags, session }) {
    if (flags.format !== "" && flags.format !== "json") {
      throw invalidArgument(`unknown format ${JSON.stringify(flags.format)}: expected json`);
    }
    const { deprecations } = await session.server();
    const rows = deprecations.map(({ id, message, lastOccurrence }) => ({
      id,
      message,
      time: formatJsonTime(lastOccurrence),
    }));
    if (flags.format === "json") {
      print(`${formatJson(rows.map(({ id, message, time }) => ({ id, message, lastOccurrence: time })))}\n`);
    } else if (rows.length > 0) {
      const cells = rows.map(({ id, message, time }) => [id, time, message, ""]);
      print(formatTable([["ID", "LAST OCCURRENCE", "MESSAGE", ""], ...cells], NARROW));
    }
  },
});
