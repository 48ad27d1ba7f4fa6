import { randomBytes } from "node:crypto";

import { noLabels } from "@berth/core/labels";
import { ignoreNotFound } from "@berth/errors";
import { LAYER_REFERENCE } from "@berth/images";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";

export const references = defineCommand({
  usage: "",
  description:
    "Takes from manifests the labels that keep their layers: what is unpacked already is then collected, and must be pulled again to be pushed or exported. Prints each label.",
  flags: {
    async: booleanFlag("do not wait until the layers have been collected"),
    dry: booleanFlag("only print what would be taken away"),
  },
  async run({ flags, session }) {
    const client = await session.client();
    const { signal } = session;
    for await (const { digest, labels } of client.content.list({ signal })) {
      const keys = [...labels.keys()].filter((key) => key.startsWith(LAYER_REFERENCE));
      if (keys.length === 0) continue;
      if (!flags.dry) {
        const fieldpaths = keys.map((key) => `labels.${key}`);
        await client.content.update({ digest, labels: noLabels }, { fieldpaths, signal });
      }
      for (const key of keys) print(`${digest} ${key}=${labels.get(key)}\n`);
    }
    if (flags.dry || flags.async) return;
    // The end of a lease is what can be waited for together with a collection.
    const id = `prune-${randomBytes(6).toString("hex")}`;
    await client.leases.create({ id, labels: noLabels }, { signal });
    await client.leases.delete(id, { sync: true, signal }).catch(ignoreNotFound);
  },
});
