import type { Client } from "@berth/client";

import type { FlagValues } from "./flags.ts";
import type { GLOBAL_FLAGS } from "./global-flags.ts";

/** Who waits for a key to complete a word waits for no daemon that does not answer. */
const PATIENCE_MS = 1000;
const MAX_NAMES = 500;

/** Which argument is being written. */
interface Argument {
  /** Of the command, without `ctr`. */
  readonly path: readonly string[];
  /** As in the help: `CONTAINER [COMMAND]`. */
  readonly usage: string;
  /** Counted from 0. */
  readonly position: number;
}

type Names = (client: Client, signal: AbortSignal) => AsyncIterable<string>;

const CONTAINERS: Names = (client, signal) => pick(client.containers.list({ signal }), ({ id }) => id);
const IMAGES: Names = (client, signal) => pick(client.images.list({ signal }), ({ name }) => name);

const NAMESPACES: Names = (client, signal) => pick(client.namespaces.list({ signal }), (name) => name);
const SNAPSHOTS: Names = (client, signal) =>
  pick(client.snapshotter(process.env["CONTAINERD_SNAPSHOTTER"] || "overlayfs").list({ signal }), ({ name }) => name);

async function* snapshotters(client: Client, signal: AbortSignal): AsyncIterable<string> {
  const plugins = await client.plugins({ filters: ["type==io.containerd.snapshotter.v1"], signal });
  for (const { id, status } of plugins) if (status === "loaded") yield id;
}

const FLAG_NAMES = { namespaces: NAMESPACES, snapshotters } as const;

/** By the group that a command is in. */
const NAMES: Readonly<Record<string, Names>> = {
  containers: CONTAINERS,
  tasks: CONTAINERS,
  images: IMAGES,
  install: IMAGES,
  leases: (client, signal) => pick(client.leases.list({ signal }), ({ id }) => id),
  content: (client, signal) => pick(client.content.list({ signal }), ({ digest }) => digest),
  sandboxes: (client, signal) => pick(client.sandboxes.list({ signal }), ({ id }) => id),
  namespaces: NAMESPACES,
  snapshots: SNAPSHOTS,
};

/** Commands whose arguments name what is not there yet, or not in the daemon. */
const NEW_NAMES: ReadonlySet<string> = new Set([
  "images import",
  "images pull",
  "content ingest",
  "content fetch",
  "content fetch-object",
  "content fetch-blob",
  "content push-object",
  "images unmount",
  "leases create",
  "namespaces create",
  "containers create",
  "containers restore",
  "sandboxes run",
  "snapshots mounts",
  "snapshots prepare",
  "snapshots commit",
  "snapshots unpack",
  "snapshots view",
]);

/** This lists what an argument may name, as the daemon has it; nothing when it cannot be asked, or is not asked for a name. */
export async function listNames(
  { path, usage, position }: Argument,
  global: FlagValues<typeof GLOBAL_FLAGS>,
): Promise<readonly string[]> {
  if (usage === "") return [];
  const [group = ""] = path;
  const isImageFirst = usage.startsWith("Image");
  if (isImageFirst ? position > 0 : NEW_NAMES.has(path.join(" "))) return [];
  // Of several arguments in a row each is such a name, or only the first.
  if (position > 0 && !usage.includes(", ...]")) return [];
  const names = isImageFirst ? IMAGES : NAMES[group];
  return names === undefined ? [] : await ask(names, global);
}

/** This lists what a flag may name, likewise. */
export async function listFlagNames(
  kind: keyof typeof FLAG_NAMES,
  global: FlagValues<typeof GLOBAL_FLAGS>,
): Promise<readonly string[]> {
  return await ask(FLAG_NAMES[kind], global);
}

async function ask(names: Names, global: FlagValues<typeof GLOBAL_FLAGS>): Promise<readonly string[]> {
  try {
    const { createClient } = await import("@berth/client");
    const signal = AbortSignal.timeout(PATIENCE_MS);
    await using client = createClient({
      address: global.address,
      namespace: global.namespace,
      connectTimeoutMs: PATIENCE_MS,
    });
    const found: string[] = [];
    for await (const name of names(client, signal)) {
      found.push(name);
      if (found.length === MAX_NAMES) break;
    }
    return found;
  } catch {
    // No daemon, no names: there is nobody to tell in the middle of a line.
    return [];
  }
}

async function* pick<T>(items: AsyncIterable<T>, name: (item: T) => string): AsyncIterable<string> {
  for await (const item of items) yield name(item);
}
