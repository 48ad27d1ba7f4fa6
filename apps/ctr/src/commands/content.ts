import { createContentClient } from "@berth/client/content";
import { parseDigest } from "@berth/oci";
import { invalidArgument } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, durationFlag, stringFlag } from "../cli/flags.ts";
import { parseLabelChange } from "../cli/label-arguments.ts";
import { forEachTold } from "../output/complain.ts";
import { formatAge } from "../output/duration.ts";
import { formatLabels } from "../output/label-list.ts";
import { print } from "../output/print.ts";
import { formatDecimalSize } from "../output/size.ts";
import { formatTable, TABBED } from "../output/table.ts";

export const list = defineCommand({
  usage: "[<filter>, ...]",
  description: "Filters choose by digest, size and labels, as in size==405.",
  flags: { quiet: booleanFlag("print only the digests", { aliases: ["q"] }) },
  async run({ flags, args, session }) {
    const { signal } = session;
    const blobs = createContentClient(session.transport()).list({ filters: args, signal });
    if (flags.quiet) {
      for await (const { digest } of blobs) print(`${digest}\n`);
      return;
    }
    const now = Date.now();
    const rows = await Array.fromAsync(blobs, ({ digest, size, createdAt, labels }) => [
      digest,
      formatDecimalSize(size),
      formatAge(now - createdAt),
      formatLabels(labels, "-"),
    ]);
    print(formatTable([["DIGEST", "SIZE", "AGE", "LABELS"], ...rows], TABBED));
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
  },
  async run({ args, session }) {
    const { signal } = session;
    const [pattern] = args;
    const content = createContentClient(session.transport());
    const filters = pattern === undefined ? [] : [`ref~=${JSON.stringify(pattern)}`];
    const now = Date.now();
    const rows = await Array.fromAsync(content.listStatuses({ filters, signal }), ({ ref, offset, startedAt }) => [
      ref,
      formatDecimalSize(offset),
      formatAge(now - startedAt),
      "",
    ]);
    print(formatTable([["REF", "SIZE", "AGE", ""], ...rows], TABBED));
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
      await content.delete(parseDigest(text), { signal });
      print(`${text}\n`);
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
