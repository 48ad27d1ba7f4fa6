import { readFile } from "node:fs/promises";

import { SandboxSchema } from "@berth/api/containerd/types/sandbox";
import { createSandboxControllerClient } from "@berth/client/sandbox-controller";
import { createSandboxesClient, toProtoSandbox } from "@berth/client/sandboxes";
import type { SandboxStatus } from "@berth/core/sandbox-controller";
import type { Sandbox } from "@berth/core/sandboxes";
import { parseNamespace } from "@berth/core/namespaces";
import { invalidArgument, isNotFound, messageOf, wrapError } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { chooseSandboxer } from "../cli/namespace-defaults.ts";
import type { Session } from "../cli/session.ts";
import { anyOf, decodeJson } from "../output/any-json.ts";
import { complain, forEachTold } from "../output/complain.ts";
import { formatJson } from "../output/json.ts";
import type { Listing } from "../output/listing.ts";
import { formatFlag, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { NARROW } from "../output/table.ts";
import { formatInstant, formatJsonTime } from "../output/time.ts";

/** Type of the JSON of a runtime spec. */
const SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

export const run = defineCommand({
  usage: "<pod-config.json> <sandbox-id>",
  description: "The configuration is an OCI runtime spec; {} will do. Prints the id of the sandbox.",
  examples: ["ctr sandboxes run pod.json pod1"],
  flags: { runtime: stringFlag("name of the runtime", { initial: "io.containerd.runc.v2" }) },
  async run({ flags, args, session }) {
    const file = requireArgument(args, 0, "a pod configuration must be provided");
    const id = requireArgument(args, 1, "a sandbox id must be provided");
    const spec = { typeUrl: SPEC_TYPE, value: await readConfiguration(file) };
    const client = await session.client();
    const { signal } = session;
    const sandboxer = await chooseSandboxer(client, "", signal);
    const record = { id, labels: new Map(), runtime: { name: flags.runtime }, spec, sandboxer, extensions: new Map() };
    await using undo = new AsyncDisposableStack();
    await client.sandboxes.create(record, { signal });
    // Without the session's signal, which an interrupt has aborted.
    undo.defer(() => client.sandboxes.delete(id));
    const controller = createSandboxControllerClient(session.transport(), sandboxer);
    await controller.create(client.namespace, record, { rootfs: [], netnsPath: "", annotations: new Map(), signal });
    undo.defer(() => controller.shutdown(client.namespace, id));
    await controller.start(client.namespace, id, { signal });
    undo.move();
    print(`${id}\n`);
  },
});

const LISTING: Listing<Sandbox> = {
  style: NARROW,
  header: ["ID", "CREATED", "RUNTIME", ""],
  row: ({ id, createdAt, runtime }) => [id, formatInstant(BigInt(createdAt) * 1_000_000n), runtime.name, ""],
  json: (sandbox) =>
    messageJson(SandboxSchema, {
      ...toProtoSandbox(sandbox),
      ...timeField("createdAt", sandbox.createdAt),
      ...timeField("updatedAt", sandbox.updatedAt),
    }),
};

export const list = defineCommand({
  usage: "",
  flags: {
    filters: listFlag("show only sandboxes that any of these filters matches, as in labels.a==b"),
    format: formatFlag,
  },
  async run({ flags, session }) {
    const { signal } = session;
    const found = createSandboxesClient(session.transport()).list({ filters: flags.filters, signal });
    await printListing(found, flags, LISTING);
  },
});

export const remove = defineCommand({
  usage: "<id> [<id>, ...]",
  description: "Ends the sandbox with all that runs in it, and removes its record.",
  flags: { force: booleanFlag("also remove one that cannot be stopped", { aliases: ["f"] }) },
  async run({ flags, args, session }) {
    requireArgument(args, 0, "must specify at least one sandbox to remove");
    await forEachTold(args, (id) => removeSandbox(session, id, flags.force));
  },
});

export const info = defineCommand({
  usage: "<sandbox id>",
  description: "Prints the record of the sandbox, and what its controller says of it.",
  flags: {},
  async run({ args, session }) {
    const id = requireArgument(args, 0, "a sandbox id must be provided");
    const { signal } = session;
    const sandbox = await createSandboxesClient(session.transport()).get(id, { signal });
    const controller = createSandboxControllerClient(session.transport(), sandbox.sandboxer);
    const namespace = parseNamespace(session.namespace);
    const status = await controller.status(namespace, id, { verbose: true, signal });
    print(`${formatJson({ ...describe(sandbox), Status: describeStatus(status) })}\n`);
  },
});

async function removeSandbox(session: Session, id: string, force: boolean): Promise<void> {
  const { signal } = session;
  const sandboxes = createSandboxesClient(session.transport());
  const { sandboxer } = await sandboxes.get(id, { signal });
  const controller = createSandboxControllerClient(session.transport(), sandboxer);
  const namespace = parseNamespace(session.namespace);
  try {
    await controller.stop(namespace, id, { signal });
    await controller.shutdown(namespace, id, { signal });
  } catch (error) {
    if (!force && !isNotFound(error)) throw wrapError(error, `stop sandbox ${id}`);
    if (!isNotFound(error)) complain(`sandbox ${id} is removed although it could not be stopped: ${messageOf(error)}`);
  }
  await sandboxes.delete(id, { signal });
}

/** @throws invalid_argument - it is no JSON object */
async function readConfiguration(file: string): Promise<Uint8Array> {
  const bytes = await readFile(file);
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return bytes;
  } catch (error) {
    throw invalidArgument(`${file}: ${messageOf(error)}`, { cause: error });
  }
  throw invalidArgument(`${file} is no JSON object`);
}

/** The record as Go names its fields. */
function describe(sandbox: Sandbox): Readonly<Record<string, unknown>> {
  const { labels, runtime, spec, extensions } = sandbox;
  return {
    ID: sandbox.id,
    Labels: Object.fromEntries([...labels].toSorted(([one], [other]) => (one < other ? -1 : 1))),
    Runtime: { Name: runtime.name, Options: anyOf(runtime.options) },
    Spec: decodeJson(spec),
    Sandboxer: sandbox.sandboxer,
    CreatedAt: formatJsonTime(sandbox.createdAt),
    UpdatedAt: formatJsonTime(sandbox.updatedAt),
    Extensions: Object.fromEntries([...extensions].map(([name, value]) => [name, anyOf(value)])),
  };
}

function describeStatus(status: SandboxStatus): Readonly<Record<string, unknown>> {
  const { pid, state, info: details, createdAtNs, exitedAtNs, extra, address, version } = status;
  const time = (ns: bigint): string | null => (ns === 0n ? null : formatJsonTime(Number(ns / 1_000_000n)));
  return {
    Pid: pid,
    State: state,
    Info: Object.fromEntries(details),
    CreatedAt: time(createdAtNs),
    ExitedAt: time(exitedAtNs),
    Extra: anyOf(extra),
    Address: address,
    Version: version,
  };
}
