import { InfoSchema, StatusSchema } from "@berth/api/containerd/services/content/v1/content";
import { createContentClient } from "@berth/client/content";
import { toProtoLabels } from "@berth/core/labels";
import { parseDigest } from "@berth/oci";
import { invalidArgument, isNotFound } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { durationFlag, stringFlag } from "../cli/flags.ts";
import { parseLabelChange } from "../cli/label-arguments.ts";
import { complain, forEachTold } from "../output/complain.ts";
import { formatAge } from "../output/duration.ts";
import { formatLabels } from "../output/label-list.ts";
import { formatFlag, LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { formatDecimalSize } from "../output/size.ts";
import { TABBED } from "../output/table.ts";

export const list = defineCommand({
  usage: "[<filter>, ...]",
  description: "Filters choose by digest, size and labels, as in size==405.",
  flags: LISTING_FLAGS,
  async run({ flags, args, session }) {
    const { signal } = session;
    const blobs = createContentClient(session.transport()).list({ filters: args, signal });
    const now = Date.now();
    await printListing(blobs, flags, {
      style: TABBED,
      header: ["DIGEST", "SIZE", "AGE", "LABELS"],
      row: ({ digest, size, createdAt, labels }) => [
        digest,
        formatDecimalSize(size),
        formatAge(now - createdAt),
        formatLabels(labels, "-"),
      ],
      name: ({ digest }) => digest,
      json: ({ digest, size, labels, createdAt, updatedAt }) =>
        messageJson(InfoSchema, {
          digest,
          size: BigInt(size),
          labels: toProtoLabels(labels),
          ...timeField("createdAt", createdAt),
          ...timeField("updatedAt", updatedAt),
        }),
    });
  },
});

export const active = defineCommand({
  usage: "[<regexp>]",
  description: "Shows only writes whose reference matches the regular expression, if one is given.",
  flags: {
    timeout: durationFlag("without effect, as in containerd's ctr", {
      aliases: ["t"],
      env: "CONTAINERD_FETCH_TIMEOUT",
    }),
    root: stringFlag("without effect, as in containerd's ctr", { initial: "/tmp/content" }),
    format: formatFlag,
  },
  async run({ flags, args, session }) {
    const { signal } = session;
    const [pattern] = args;
    const content = createContentClient(session.transport());
    const filters = pattern === undefined ? [] : [`ref~=${JSON.stringify(pattern)}`];
    const now = Date.now();
    await printListing(content.listStatuses({ filters, signal }), flags, {
      style: TABBED,
      header: ["REF", "SIZE", "AGE", ""],
      row: ({ ref, offset, startedAt }) => [ref, formatDecimalSize(offset), formatAge(now - startedAt), ""],
      json: ({ ref, offset, total, expected = "", startedAt, updatedAt }) =>
        messageJson(StatusSchema, {
          ref,
          offset: BigInt(offset),
          total: BigInt(total),
          expected,
          ...timeField("startedAt", startedAt),
          ...timeField("updatedAt", updatedAt),
        }),
    });
  },
});

export const remove = defineCommand({
  usage: "[<digest>, ...]",
  flags: {},
  async run({ args, session }) {
    requireArgument(args, 0, "must specify one or more digests");
    const content = createContentClient(session.transport());
    const { signal } = session;
    await forEachTold(args, async (text) => {
      try {
        await content.delete(parseDigest(text), { signal });
        print(`${text}\n`);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        complain(`${text}: content not found`);
      }
    });
  },
});

export const label = defineCommand({
  usage: "<digest> [<label>=<value> ...]",
  description: "key= clears a label. Prints all labels that the blob then has.",
  flags: {},
  async run({ args, session }) {
    const digest = parseDigest(requireArgument(args, 0, "please specify a digest"));
    if (args.length < 2) throw invalidArgument("please specify a label, as key=value");
    const { labels, fieldpaths } = parseLabelChange(args.slice(1));
    const { signal } = session;
    const info = await createContentClient(session.transport()).update({ digest, labels }, { fieldpaths, signal });
    print(`${formatLabels(info.labels)}\n`);
  },
});
