import { NamespaceSchema } from "@berth/api/containerd/services/namespaces/v1/namespaces";
import { createNamespacesClient } from "@berth/client/namespaces";
import { toProtoLabels } from "@berth/core/labels";
import { parseNamespace } from "@berth/core/namespaces";
import { isNotFound, wrapError } from "@berth/errors";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { forEachTold } from "../output/complain.ts";
import { formatLabels } from "../output/label-list.ts";
import { LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { NARROW } from "../output/table.ts";

const NO_NAME = "please specify a namespace";

export const create = defineCommand({
  usage: "<name> [<key>=<value>, ...]",
  description: "Namespaces also come into being with the first thing made in them.",
  flags: {},
  async run({ args, session }) {
    const name = parseNamespace(requireArgument(args, 0, NO_NAME));
    const { signal } = session;
    await createNamespacesClient(session.transport()).create(name, parseLabels(args.slice(1)), { signal });
  },
});

export const list = defineCommand({
  usage: "",
  flags: LISTING_FLAGS,
  async run({ flags, session }) {
    const { signal } = session;
    await printListing(createNamespacesClient(session.transport()).listRecords({ signal }), flags, {
      style: NARROW,
      header: ["NAME", "LABELS", ""],
      row: ({ name, labels }) => [name, formatLabels(labels), ""],
      name: ({ name }) => name,
      json: ({ name, labels }) => messageJson(NamespaceSchema, { name, labels: toProtoLabels(labels) }),
    });
  },
});

export const label = defineCommand({
  usage: "<name> [<key>=<value>, ...]",
  description: "key= clears a label.",
  flags: {},
  async run({ args, session }) {
    const name = parseNamespace(requireArgument(args, 0, NO_NAME));
    const { signal } = session;
    await createNamespacesClient(session.transport()).setLabels(name, parseLabels(args.slice(1)), { signal });
  },
});

export const remove = defineCommand({
  usage: "<name> [<name>, ...]",
  description: "Only an empty namespace can be removed. One that is not there counts as removed.",
  flags: { cgroup: booleanFlag("remove the namespace's cgroup too", { aliases: ["c"] }) },
  async run({ flags, args, session }) {
    requireArgument(args, 0, NO_NAME);
    const namespaces = createNamespacesClient(session.transport());
    const { signal } = session;
    await forEachTold(args, async (name) => {
      try {
        await namespaces.delete(parseNamespace(name), { signal });
      } catch (error) {
        if (!isNotFound(error)) throw wrapError(error, `unable to delete ${name}`);
      }
      if (flags.cgroup) await (await import("../process/namespace-cgroup.ts")).removeNamespaceCgroup(name);
      print(`${name}\n`);
    });
  },
});
