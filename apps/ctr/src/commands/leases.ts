import { randomBytes } from "node:crypto";

import { LeaseSchema } from "@berth/api/containerd/services/leases/v1/leases";
import { createLeasesClient } from "@berth/client/leases";
import { toProtoLabels } from "@berth/core/labels";
import type { Lease } from "@berth/core/leases";
import { LeaseLabel } from "@berth/core/leases";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, durationFlag, stringFlag } from "../cli/flags.ts";
import { forEachTold } from "../output/complain.ts";
import { formatLabels } from "../output/label-list.ts";
import type { Listing } from "../output/listing.ts";
import { LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { NARROW } from "../output/table.ts";
import { formatSecond } from "../output/time.ts";

const DAY_MS = 24 * 3_600_000;

const LISTING: Listing<Lease> = {
  style: NARROW,
  header: ["ID", "CREATED AT", "LABELS", ""],
  row: ({ id, createdAt, labels }) => [id, formatSecond(createdAt), formatLabels(labels, "-"), ""],
  name: ({ id }) => id,
  json: ({ id, createdAt, labels }) =>
    messageJson(LeaseSchema, { id, labels: toProtoLabels(labels), ...timeField("createdAt", createdAt) }),
};

export const list = defineCommand({
  usage: "[<filter>, ...]",
  flags: LISTING_FLAGS,
  async run({ flags, args, session }) {
    const { signal } = session;
    await printListing(createLeasesClient(session.transport()).list({ filters: args, signal }), flags, LISTING);
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
