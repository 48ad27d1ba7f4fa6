import { EnvelopeSchema } from "@berth/api/containerd/types/event";
import { createEventsClient } from "@berth/client/events";
import { EVENT_SCHEMAS } from "@berth/client/watch";

import { defineCommand } from "../cli/command.ts";
import { formatFlag, isJsonFormat } from "../output/listing.ts";
import { messageJson, timeNsField } from "../output/message-json.ts";
import { isOutputClosed, print } from "../output/print.ts";
import { formatAny } from "../output/proto-json.ts";
import { formatInstant } from "../output/time.ts";

export const events = defineCommand({
  usage: "[<filter>, ...]",
  description:
    "One line for each event: time, namespace, topic, content. Events of all namespaces are shown; filters choose, as in\nnamespace==default or 'topic~=/tasks/.+'. Runs until it is stopped.\nIn JSON each line is an object of its own.",
  flags: { format: formatFlag },
  async run({ flags, args, session }) {
    const schemas = Object.values(EVENT_SCHEMAS);
    const isJson = isJsonFormat(flags.format);
    // Stopping it is how it ends, so a signal is left to do what it does.
    for await (const envelope of createEventsClient(session.transport()).subscribe({
      filters: args,
      signal: session.signal,
    })) {
      const { timestampNs, namespace, topic, event } = envelope;
      const message = { ...timeNsField("timestamp", timestampNs), namespace, topic, event };
      if (isJson) print(`${JSON.stringify(await messageJson(EnvelopeSchema, message, schemas))}\n`);
      else print(`${formatInstant(timestampNs)} ${namespace} ${topic} ${formatAny(event, schemas)}\n`);
      if (isOutputClosed()) return;
    }
  },
});
