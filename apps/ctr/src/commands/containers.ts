import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { ContainerSchema } from "@berth/api/containerd/services/containers/v1/containers";
import { createContainersClient, toProtoContainer } from "@berth/client/containers";
import type { Container } from "@berth/core/containers";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { parseLabelChange } from "../cli/label-arguments.ts";
import { anyOf, decodeJson } from "../output/any-json.ts";
import { forEachTold } from "../output/complain.ts";
import { formatJson } from "../output/json.ts";
import { formatLabels } from "../output/label-list.ts";
import type { Listing } from "../output/listing.ts";
import { LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { WIDE } from "../output/table.ts";
import { formatJsonTime } from "../output/time.ts";

const NO_ID = "container id must be provided";

const LISTING: Listing<Container> = {
  style: WIDE,
  header: ["CONTAINER", "IMAGE", "RUNTIME", ""],
  row: ({ id, image, runtime }) => [id, image === "" ? "-" : image, runtime.name, ""],
  name: ({ id }) => id,
  json: (container) =>
    messageJson(
      ContainerSchema,
      {
        ...toProtoContainer(container),
        ...timeField("createdAt", container.createdAt),
        ...timeField("updatedAt", container.updatedAt),
      },
      [OptionsSchema],
    ),
};

export const list = defineCommand({
  usage: "[<filter>, ...]",
  description: "Filters choose by id, image, runtime.name and labels, as in image~=busybox.",
  flags: LISTING_FLAGS,
  async run({ flags, args, session }) {
    const { signal } = session;
    const found = createContainersClient(session.transport()).list({ filters: args, signal });
    await printListing(found, flags, LISTING);
  },
});

export const info = defineCommand({
  usage: "CONTAINER",
  flags: { spec: booleanFlag("print only the OCI spec") },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, NO_ID);
    const container = await createContainersClient(session.transport()).get(id, { signal: session.signal });
    print(`${formatJson(flags.spec ? decodeJson(container.spec) : describe(container))}\n`);
  },
});

export const remove = defineCommand({
  usage: "CONTAINER [CONTAINER, ...]",
  description: "Also removes a task that has ended, and the container's snapshot.",
  flags: { "keep-snapshot": booleanFlag("leave the container's snapshot") },
  async run({ flags, args, session }) {
    requireArgument(args, 0, "must specify at least one container to delete");
    const client = await session.client();
    const { removeContainerAndTask } = await import("../process/remove-container.ts");
    await forEachTold(args, (id) =>
      removeContainerAndTask(client, id, { keepSnapshot: flags["keep-snapshot"], signal: session.signal }),
    );
  },
});

export const label = defineCommand({
  usage: "CONTAINER [<key>=<value>, ...]",
  description: "key= clears a label. Prints all labels that the container then has.",
  flags: {},
  async run({ args, session }) {
    const id = requireArgument(args, 0, NO_ID);
    const { labels, fieldpaths } = parseLabelChange(args.slice(1));
    const containers = createContainersClient(session.transport());
    const { signal } = session;
    const before = await containers.get(id, { signal });
    const after =
      fieldpaths.length === 0 ? before : await containers.update({ ...before, labels }, { fieldpaths, signal });
    print(`${formatLabels(after.labels)}\n`);
  },
});

/** The record as Go names its fields, which scripts read. */
function describe(container: Container): Readonly<Record<string, unknown>> {
  const { labels, runtime, extensions, spec } = container;
  return {
    ID: container.id,
    Labels: Object.fromEntries([...labels].toSorted(([one], [other]) => (one < other ? -1 : 1))),
    Image: container.image,
    Runtime: { Name: runtime.name, Options: anyOf(runtime.options) },
    SnapshotKey: container.snapshotKey,
    Snapshotter: container.snapshotter,
    CreatedAt: formatJsonTime(container.createdAt),
    UpdatedAt: formatJsonTime(container.updatedAt),
    Extensions: Object.fromEntries([...extensions].map(([name, value]) => [name, anyOf(value)])),
    SandboxID: container.sandboxId,
    ...(spec === undefined ? {} : { Spec: decodeJson(spec) }),
  };
}
