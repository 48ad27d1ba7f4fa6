import { randomBytes } from "node:crypto";

import { createLeasesClient } from "@berth/client/leases";
import { LeaseLabel } from "@berth/core/leases";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, durationFlag, stringFlag } from "../cli/flags.ts";
import { forEachTold } from "../output/complain.ts";
import { formatLabels } from "../output/label-list.ts";
import { print } from "../output/print.ts";
import { formatTable, NARROW } from "../output/table.ts";
import { formatSecond } from "../output/time.ts";

const DAY_MS = 24 * 3_600_000;

export const list = defineCommand({
  usage: "[<filter>, ...]",
  flags: { quiet: booleanFlag("print only the ids", { aliases: ["q"] }) },
  async run({ flags, args, session }) {
    const { signal } = session;
    const leases = await Array.fromAsync(createLeasesClient(session.transport()).list({ filters: args, signal }));
    if (flags.quiet) for (const { id } of leases) print(`${id}\n`);
    else {
      const rows = leases.map(({ id, createdAt, labels }) => [
        id,
        formatSecond(createdAt),
        formatLabels(labels, "-"),
        "",
      ]);
      print(formatTable([["ID", "CREATED AT", "LABELS", ""], ...rows], NARROW));
    }
  },
});

export const create = defineCommand({
  usage: "[<label>=<value>, ...]",
  description: "Prints the id of the lease.",
  flags: {
    id: stringFlag("id of the lease (default: one is made up)"),
    expires: durationFlag("how long it holds; 0 for ever (default: 24h)", { aliases: ["x"], initial: DAY_MS }),
  },
  async run({ flags, args, session }) {
    const labels = parseLabels(args);
    if (flags.expires > 0) labels.set(LeaseLabel.expire, formatSecond(Date.now() + flags.expires));
    const { signal } = session;
    const id = flags.id === "" ? `${Date.now()}-${randomBytes(3).toString("base64url")}` : flags.id;
    const lease = await createLeasesClient(session.transport()).create({ id, labels }, { signal });
    print(`${lease.id}\n`);
  },
});

export const remove = defineCommand({
  usage: "<lease id> ...",
  flags: { sync: booleanFlag("wait until what the lease held has been collected") },
  async run({ flags, args, session }) {
    requireArgument(args, 0, "must specify lease id to delete");
    const leases = createLeasesClient(session.transport());
    const { signal } = session;
    await forEachTold(args, async (id) => {
      // The collector runs once, after the last.
      await leases.delete(id, { sync: flags.sync && id === args.at(-1), signal });
      print(`${id}\n`);
    });
  },
});
