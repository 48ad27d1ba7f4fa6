import { posix } from "node:path";

import type { Mount } from "@berth/core/mount";
import type { SnapshotOptions, Snapshotter } from "@berth/core/snapshots";
import { wrapError } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { parseLabelChange } from "../cli/label-arguments.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { forEachTold } from "../output/complain.ts";
import { formatJson } from "../output/json.ts";
import { formatLabels } from "../output/label-list.ts";
import { print } from "../output/print.ts";
import { formatSecond } from "../output/time.ts";
import { openSnapshotter } from "./snapshots.ts";

const NO_KEY = "snapshot key must be provided";

/** What somebody makes by hand is kept until they remove it by hand. */
function keptLabels(): ReadonlyMap<string, string> {
  return new Map([["containerd.io/gc.root", formatSecond(Date.now())]]);
}

const CREATION_FLAGS = {
  target: stringFlag("print the command that mounts the snapshot at this path", { aliases: ["t"] }),
  mounts: booleanFlag("print the mounts as JSON"),
  snapshotter: snapshotterFlag,
};

type Create = (
  snapshotter: Snapshotter,
  key: string,
  parent: string,
  options: SnapshotOptions,
) => Promise<readonly Mount[]>;

function creation(create: Create) {
  return defineCommand({
    usage: "<key> [<parent>]",
    description: "It is kept from the garbage collector until it is removed.",
    flags: CREATION_FLAGS,
    async run({ flags, args, session }) {
      const key = requireArgument(args, 0, NO_KEY);
      const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
      const { signal } = session;
      const made = await create(snapshotter, key, args[1] ?? "", { labels: keptLabels(), signal });
      if (flags.target !== "") print(formatMounts(made, flags.target));
      if (flags.mounts) print(`${formatJson(made.map(describeMount))}\n`);
    },
  });
}

export const prepare = creation((snapshotter, key, parent, options) => snapshotter.prepare(key, parent, options));

export const view = creation((snapshotter, key, parent, options) => snapshotter.view(key, parent, options));

export const commit = defineCommand({
  usage: "<key> <active>",
  flags: { snapshotter: snapshotterFlag },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "name of the committed snapshot must be provided");
    const key = requireArgument(args, 1, "key of the active snapshot must be provided");
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    await snapshotter.commit(name, key, { labels: keptLabels(), signal: session.signal });
  },
});

export const mounts = defineCommand({
  usage: "<target> <key>",
  description:
    "Nothing is mounted: the output is for a shell. With --temp the daemon mounts the snapshot, and unmounts it when the snapshot goes.",
  flags: {
    snapshotter: snapshotterFlag,
    temp: booleanFlag("let the daemon mount the snapshot, and print the bind of its place"),
  },
  async run({ flags, args, session }) {
    const target = requireArgument(args, 0, "mount target must be provided");
    const key = requireArgument(args, 1, NO_KEY);
    const { signal } = session;
    const { client, snapshotter } = await openSnapshotter(session, flags.snapshotter);
    const own = await snapshotter.mounts(key, { signal });
    if (!flags.temp) {
      print(formatMounts(own, target));
      return;
    }
    const name = await chooseSnapshotter(client, flags.snapshotter, signal);
    const labels = new Map([[`containerd.io/gc.bref.snapshot.${name}`, key]]);
    const { system } = await client.mounts.activate(`ctr${key}`, own, { temporary: true, labels, signal });
    print(formatMounts(system, target));
  },
});

export const remove = defineCommand({
  usage: "<key> [<key>, ...]",
  flags: { snapshotter: snapshotterFlag },
  async run({ flags, args, session }) {
    requireArgument(args, 0, NO_KEY);
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    await forEachTold(args, async (key) => {
      try {
        await snapshotter.remove(key, { signal: session.signal });
      } catch (error) {
        throw wrapError(error, `failed to remove ${JSON.stringify(key)}`);
      }
    });
  },
});

export const label = defineCommand({
  usage: "<name> [<label>=<value> ...]",
  description: "key= clears a label. Prints all labels that the snapshot then has.",
  flags: { snapshotter: snapshotterFlag },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, NO_KEY);
    const { labels, fieldpaths } = parseLabelChange(args.slice(1));
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    const { signal } = session;
    const after =
      fieldpaths.length === 0
        ? await snapshotter.stat(name, { signal })
        : await snapshotter.update({ name, labels }, { fieldpaths, signal });
    print(`${formatLabels(after.labels)}\n`);
  },
});

function formatMounts(list: readonly Mount[], target: string): string {
  return list
    .map(({ type, source, target: below, options }) => {
      const where = posix.join(target, below ?? "");
      return `mount -t ${type} ${source} ${where}${options.length === 0 ? "" : ` -o ${options.join(",")}`}\n`;
    })
    .join("");
}

function describeMount({ type, source, target, options }: Mount): Readonly<Record<string, unknown>> {
  return { Type: type, Source: source, Target: target, Options: options };
}
