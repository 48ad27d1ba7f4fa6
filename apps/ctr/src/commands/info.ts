import { defineCommand } from "../cli/command.ts";
import { formatJson } from "../output/json.ts";
import { print } from "../output/print.ts";
import { formatJsonTime } from "../output/time.ts";

export const info = defineCommand({
  usage: "",
  flags: {},
  async run({ session }) {
    const { uuid, pid, pidNamespace, deprecations } = await session.server();
    const warnings = deprecations.map(({ id, message, lastOccurrence }) => ({
      id,
      message,
      lastOccurrence: formatJsonTime(lastOccurrence),
    }));
    const server = { uuid, pid, pidns: pidNamespace, ...(warnings.length > 0 ? { deprecations: warnings } : {}) };
    print(`${formatJson({ server })}\n`);
  },
});
