import { DeprecationWarningSchema } from "@berth/api/containerd/services/introspection/v1/introspection";

import { defineCommand } from "../cli/command.ts";
import { formatFlag, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { NARROW } from "../output/table.ts";
import { formatJsonTime } from "../output/time.ts";

export const list = defineCommand({
  usage: "",
  flags: { format: formatFlag },
  async run({ flags, session }) {
    const { deprecations } = await session.server();
    await printListing(deprecations, flags, {
      style: NARROW,
      header: ["ID", "LAST OCCURRENCE", "MESSAGE", ""],
      row: ({ id, message, lastOccurrence }) => [id, formatJsonTime(lastOccurrence), message, ""],
      silentWhenEmpty: true,
      json: ({ id, message, lastOccurrence }) =>
        messageJson(DeprecationWarningSchema, { id, message, ...timeField("lastOccurrence", lastOccurrence) }),
    });
  },
});
