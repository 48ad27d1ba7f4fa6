import { PluginSchema } from "@berth/api/containerd/services/introspection/v1/introspection";
import { createIntrospectionClient } from "@berth/client/introspection";
import type { PluginRecord } from "@berth/core/introspection";
import { toProtoLabels } from "@berth/core/labels";
import { Code, codeOf, messageOf } from "@berth/errors";
import { formatPlatform } from "@berth/oci";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import type { Listing } from "../output/listing.ts";
import { isJsonFormat, LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { formatTable, WIDE } from "../output/table.ts";

const STATUS: Readonly<Record<PluginRecord["status"], string>> = { loaded: "ok", skipped: "skip", failed: "error" };

export const list = defineCommand({
  usage: "[<filter>, ...]",
  description: "Filters choose by id and type, as in id==btrfs; a plugin that any of them matches is shown.",
  examples: ["ctr plugins list", "ctr plugins list --detailed id==btrfs"],
  flags: {
    ...LISTING_FLAGS,
    detailed: booleanFlag("print all that is known of each plugin", { aliases: ["d"] }),
  },
  async run({ flags, args, session }) {
    const introspection = createIntrospectionClient(session.transport());
    const plugins = await introspection.plugins({ filters: args, signal: session.signal });
    if (flags.detailed && !flags.quiet && !isJsonFormat(flags.format)) {
      const blocks = plugins.map((plugin, index) => [...(index > 0 ? [["", "", "", ""]] : []), ...detailsOf(plugin)]);
      print(formatTable(blocks.flat(), WIDE));
    } else await printListing(plugins, flags, LISTING);
  },
});

const LISTING: Listing<PluginRecord> = {
  style: WIDE,
  header: ["TYPE", "ID", "PLATFORMS", "STATUS", ""],
  row: rowOf,
  name: ({ id }) => id,
  json: ({ type, id, requires, platforms, exports, capabilities, error }) =>
    messageJson(PluginSchema, {
      type,
      id,
      requires: [...requires],
      capabilities: [...capabilities],
      exports: toProtoLabels(exports),
      platforms: platforms.map(({ osFeatures = [], ...platform }) => ({ ...platform, osFeatures: [...osFeatures] })),
      ...(error !== undefined && { initErr: { code: codeOf(error), message: messageOf(error) } }),
    }),
};

function rowOf({ type, id, platforms, status }: PluginRecord): string[] {
  const shown = platforms.length === 0 ? "-" : namesOf(platforms);
  return [type, id, shown, STATUS[status], ""];
}

/** Those that differ in features alone have one name. */
function namesOf(platforms: PluginRecord["platforms"]): string {
  return [...new Set(platforms.map(formatPlatform))].toSorted().join(",");
}

/** The odd spaces before and after words are those of containerd's ctr, which scripts may have learnt to cut. */
function detailsOf(plugin: PluginRecord): string[][] {
  const { type, id, requires, platforms, exports, capabilities, error } = plugin;
  const rows = [
    ["Type:", ` ${type}`],
    ["ID:", ` ${id}`],
  ];
  if (requires.length > 0) rows.push(["Requires:", ""], ...requires.map((required) => ["", ` ${required}`]));
  if (platforms.length > 0) rows.push(["Platforms:", ` ${namesOf(platforms)}`]);
  if (exports.size > 0)
    rows.push(["Exports:", ""], ...[...exports].map(([key, value]) => ["", ` ${key} `, ` ${value}`]));
  if (capabilities.length > 0) rows.push(["Capabilities:", ` ${capabilities.join(",")}`]);
  if (error !== undefined) {
    rows.push(["Error:", ""], ["", " Code:", ` ${Code[codeOf(error)]}`], ["", " Message:", ` ${messageOf(error)}`]);
  }
  return rows;
}
