import { resolve } from "node:path";

import type { Client } from "@berth/client";
import type { CreateContainerOptions } from "@berth/client/run";
import { createContainer } from "@berth/client/run";
import type { Container } from "@berth/core/containers";
import { invalidArgument } from "@berth/errors";
import { onlyStrict, parsePlatform } from "@berth/oci";
import type { RuntimeSpec } from "@berth/oci/spec";
import { generateSpec, withDefaultUnixDevices, withEnv, withRootfsPath } from "@berth/oci/spec";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { chooseRuntime, chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { networkExtension } from "./container-network.ts";
import { parseIdMapping } from "./id-mapping.ts";
import { runtimeOptions } from "./runtime-options.ts";
import type { SpecFlags } from "./spec-options.ts";
import { readJsonFile, specOptions } from "./spec-options.ts";
import { readUserFiles, readUserFilesAt } from "./user-files.ts";

const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The flags and arguments of `run` and `containers create`. */
export interface ContainerRequest extends SpecFlags {
  readonly platform?: string;
  readonly "sync-fs"?: boolean;
  readonly cni?: boolean;
  readonly uidmap?: readonly string[];
  readonly gidmap?: readonly string[];
  readonly "remap-labels"?: boolean;
}

/** What the arguments say: an image or a root directory, unless the spec is in a file; an id; a command. */
export interface ContainerArguments {
  readonly source: string;
  readonly id: string;
  readonly command: readonly string[];
}

/** This reads the arguments. @throws invalid_argument - one is missing, or does not go with --config */
export function containerArguments(flags: SpecFlags, args: readonly string[]): ContainerArguments {
  if (flags.config === "") {
    const source = requireArgument(args, 0, "image ref must be provided");
    return { source, id: requireArgument(args, 1, "container id must be provided"), command: args.slice(2) };
  }
  const id = requireArgument(args, 0, "container id must be provided");
  if (args.length > 1) throw invalidArgument("with spec config file, only container id should be provided");
  return { source: "", id, command: [] };
}

/** This makes a container's record and snapshot from flags and arguments. Nothing is left after a failure. */
export async function createFromFlags(
  client: Client,
  flags: ContainerRequest,
  args: ContainerArguments,
  signal: AbortSignal,
): Promise<Container> {
  const runtime = await chooseRuntime(client, flags.runtime, signal);
  const options = runtimeOptions(runtime, flags);
  return await createContainer(client, {
    id: args.id,
    labels: parseLabels(flags.label),
    snapshotLabels: parseLabels(flags["snapshotter-label"]),
    runtime: { name: runtime, ...(options === undefined ? {} : { options }) },
    sandboxId: flags.sandbox,
    ...(flags.cni === true && { extensions: networkExtension() }),
    signal,
    ...(await sourceOptions(client, flags, args, signal)),
  });
}

type SourceOptions = Pick<
  CreateContainerOptions,
  "snapshotter" | "image" | "spec" | "wholeSpec" | "platform" | "readUserFiles" | "syncFs" | "idMapping"
>;

async function sourceOptions(
  client: Client,
  flags: ContainerRequest,
  args: ContainerArguments,
  signal: AbortSignal,
): Promise<SourceOptions> {
  const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
  const idMapping = parseIdMapping(flags, signal);
  if (idMapping !== undefined && (flags.config !== "" || flags.rootfs))
    throw invalidArgument("flags --uidmap and --gidmap are for containers of an image");
  if (flags.config !== "") return { snapshotter, wholeSpec: await specFromFile(flags.config) };
  if (flags.rootfs) return { snapshotter, wholeSpec: await specOfDirectory(client, flags, args) };
  const options = await specOptions(flags, args.command);
  const { platform = "" } = flags;
  return {
    snapshotter,
    image: args.source,
    spec: ({ userFiles }) => options(userFiles),
    readUserFiles,
    ...(platform === "" ? {} : { platform: onlyStrict(parsePlatform(platform)) }),
    ...(flags["sync-fs"] === true ? { syncFs: true } : {}),
    ...(idMapping !== undefined && { idMapping }),
  };
}

async function specFromFile(path: string): Promise<RuntimeSpec> {
  // An object; the runtime checks its fields.
  return (await readJsonFile(path)) as unknown as RuntimeSpec;
}

async function specOfDirectory(client: Client, flags: SpecFlags, args: ContainerArguments): Promise<RuntimeSpec> {
  const root = resolve(args.source);
  const options = await specOptions(flags, args.command);
  return generateSpec({
    namespace: client.namespace,
    id: args.id,
    options: [
      withDefaultUnixDevices,
      withEnv([DEFAULT_PATH]),
      withRootfsPath(root),
      ...options(flags.user === "" ? {} : await readUserFilesAt(root)),
    ],
  });
}
