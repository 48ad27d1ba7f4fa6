import { createImagesClient } from "@berth/client/images";
import type { ImageStore } from "@berth/core/images";
import { alreadyExists, isAlreadyExists, isNotFound } from "@berth/errors";
import { parseReference } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { parseLabelChange } from "../cli/label-arguments.ts";
import { complain, forEachTold } from "../output/complain.ts";
import { formatLabels } from "../output/label-list.ts";
import { print } from "../output/print.ts";

const NO_NAME = "please provide an image name";

export const remove = defineCommand({
  usage: "<ref> [<ref>, ...]",
  description:
    "Removes names; blobs and snapshots that nothing else refers to are collected later. A name that is not there is no failure.",
  flags: { sync: booleanFlag("wait until what is no longer needed has been collected") },
  async run({ flags, args, session }) {
    requireArgument(args, 0, NO_NAME);
    const images = createImagesClient(session.transport());
    const { signal } = session;
    await forEachTold(args, async (name) => {
      try {
        // The collector runs once, after the last.
        await images.delete(name, { sync: flags.sync && name === args.at(-1), signal });
        print(`${name}\n`);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        complain(`${name}: image not found`);
      }
    });
  },
});

export const tag = defineCommand({
  usage: "<source_ref> <target_ref> [<target_ref>, ...]",
  description: "The labels of the image go with it.",
  examples: ["ctr images tag example.org/busybox:1 example.org/busybox:latest"],
  flags: {
    force: booleanFlag("replace an image that has the name already"),
    local: booleanFlag("replace through this program, not in the daemon"),
    "skip-reference-check": booleanFlag("take any text as a name"),
  },
  async run({ flags, args, session }) {
    const source = requireArgument(args, 0, "please provide an image name to tag from");
    const names = args.slice(1);
    requireArgument(names, 0, "please provide an image name to tag to");
    if (!flags["skip-reference-check"]) for (const name of names) parseReference(name);
    const client = await session.client();
    const { signal } = session;
    const { target, labels } = await client.images.get(source, { signal });
    const { hasTransferService, tagInDaemon } = await import("@berth/client/transfer");
    // The daemon replaces names: only where that is wanted.
    const byDaemon = flags.force && !flags.local && (await hasTransferService(client, { signal }));
    for (const name of names) {
      if (byDaemon) await tagInDaemon(client, source, name, { labels, signal });
      else await put(client.images, { name, target, labels }, { force: flags.force, signal });
      print(`${name}\n`);
    }
  },
});

async function put(
  images: ImageStore,
  image: Parameters<ImageStore["create"]>[0],
  { force, signal }: { readonly force: boolean; readonly signal: AbortSignal },
): Promise<void> {
  try {
    await images.create(image, { signal });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    if (!force)
      throw alreadyExists(`image ${JSON.stringify(image.name)} is there (--force replaces it)`, { cause: error });
    await images.update(image, { signal });
  }
}

export const label = defineCommand({
  usage: "<name> [<key>=<value>, ...]",
  description: "key= clears a label. Prints all labels that the image then has.",
  flags: { "replace-all": booleanFlag("clear all labels that are not given", { aliases: ["r"] }) },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, NO_NAME);
    const { labels, fieldpaths } = parseLabelChange(args.slice(1));
    const images = createImagesClient(session.transport());
    const { signal } = session;
    const before = await images.get(name, { signal });
    const paths = flags["replace-all"] ? ["labels"] : fieldpaths;
    const after =
      paths.length === 0 ? before : await images.update({ ...before, labels }, { fieldpaths: paths, signal });
    print(`${formatLabels(after.labels)}\n`);
  },
});
