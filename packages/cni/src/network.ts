import type { CallOptions } from "@berth/core/any";
import { failedPrecondition, wrapError } from "@berth/errors";
import { z } from "zod";

import { isAtLeast, NEWEST_VERSION, OLDEST_VERSION } from "./cni-version.ts";
import type { NetworkConfig, PluginConfig } from "./network-config.ts";
import { checkAttachment } from "./network-config.ts";
import { findPluginError } from "./plugin-error.ts";
import type { CniResult } from "./result.ts";
import { EMPTY_RESULT, formatResult, parseResult } from "./result.ts";
import type { Attachment, ResultCache } from "./result-cache.ts";
import type { CniCommand } from "./run-plugin.ts";
import { runPlugin } from "./run-plugin.ts";

/** How the plugins of a network are run. */
export interface PluginRunner {
  /** Where plugins are looked for, in this order. */
  readonly pluginDirectories: readonly string[];
  /** Of each plugin. */
  readonly timeoutMs: number;
  readonly cache: ResultCache;
}

/** An interface of a container: what a collection of garbage is told to spare. */
export type ValidAttachment = Pick<Attachment, "containerId" | "ifName">;

/**
 * This attaches a container to a network: each plugin is told what the one before it has done. After a failure, whoever called detaches it.
 *
 * @throws CniPluginError, wrapped - a plugin failed; not_found - there is no such plugin
 * @see containernetworking/cni libcni/api.go, AddNetworkList
 */
export async function attach(
  runner: PluginRunner,
  network: NetworkConfig,
  attachment: Attachment,
  { signal }: CallOptions = {},
): Promise<CniResult> {
  checkAttachment(attachment.containerId, attachment.ifName);
  let result: CniResult | undefined;
  for (const plugin of network.plugins) {
    const text = await ask(runner, network, plugin, { command: "ADD", attachment, previous: result, signal });
    result = parseResult(text, network.cniVersion);
  }
  const made = result ?? EMPTY_RESULT;
  await runner.cache.put(attachment, network, made);
  return made;
}

/**
 * This detaches a container, in the opposite order, whether it was attached wholly, partly or not at all.
 *
 * @throws CniPluginError, wrapped - a plugin failed; the others were not asked, and it can be tried again
 */
export async function detach(
  runner: PluginRunner,
  network: NetworkConfig,
  attachment: Attachment,
  { signal }: CallOptions = {},
): Promise<void> {
  checkAttachment(attachment.containerId, attachment.ifName);
  const previous = isAtLeast(network.cniVersion, "0.4.0") ? (await runner.cache.find(attachment))?.result : undefined;
  for (const plugin of network.plugins.toReversed())
    await ask(runner, network, plugin, { command: "DEL", attachment, previous, signal });
  await runner.cache.delete(attachment);
}

/**
 * This asks whether an attachment is as it was made. A network whose checks are switched off passes.
 *
 * @throws failed_precondition - its version knows no checks; CniPluginError, wrapped - it is not
 */
export async function checkAttached(
  runner: PluginRunner,
  network: NetworkConfig,
  attachment: Attachment,
  { signal }: CallOptions = {},
): Promise<void> {
  checkAttachment(attachment.containerId, attachment.ifName);
  if (network.disableCheck) return;
  if (!isAtLeast(network.cniVersion, "0.4.0"))
    throw failedPrecondition(`CNI network ${network.name} is of version ${network.cniVersion}, which has no CHECK`);
  const previous = (await runner.cache.find(attachment))?.result;
  for (const plugin of network.plugins)
    await ask(runner, network, plugin, { command: "CHECK", attachment, previous, signal });
}

/** This asks whether a network can be attached to now; versions before 1.1 are taken to be. @throws CniPluginError, wrapped - it cannot */
export async function networkStatus(
  runner: PluginRunner,
  network: NetworkConfig,
  { signal }: CallOptions = {},
): Promise<void> {
  if (!isAtLeast(network.cniVersion, "1.1.0")) return;
  for (const plugin of network.plugins) await ask(runner, network, plugin, { command: "STATUS", signal });
}

/**
 * This detaches what is attached to a network and not in `valid`, then lets the plugins of version 1.1 look for what is left. All is tried, whatever fails.
 *
 * @throws the first error
 */
export async function collectGarbage(
  runner: PluginRunner,
  network: NetworkConfig,
  valid: readonly ValidAttachment[],
  { signal }: CallOptions = {},
): Promise<void> {
  if (network.disableGc) return;
  const key = ({ containerId, ifName }: ValidAttachment): string => JSON.stringify([containerId, ifName]);
  const spared = new Set(valid.map(key));
  const steps: (() => Promise<unknown>)[] = [];
  for await (const attachment of runner.cache.list(network.name, { signal }))
    if (!spared.has(key(attachment))) steps.push(() => detach(runner, network, abandoned(attachment), { signal }));
  if (isAtLeast(network.cniVersion, "1.1.0")) {
    const attachments = valid.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }));
    const extra = { "cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments };
    for (const plugin of network.plugins)
      steps.push(() => ask(runner, network, plugin, { command: "GC", extra, signal }));
  }
  await tryAll(steps, signal);
}

/** The number of a process can be another's by now, whose network must stay: plugins are told that the namespace is gone. */
function abandoned(attachment: Attachment): Attachment {
  return attachment.netns.startsWith("/proc/") ? { ...attachment, netns: "" } : attachment;
}

const VERSIONS = z.object({ supportedVersions: z.array(z.string()).nonempty() });

/** This asks a plugin which versions it speaks. @throws not_found; CniPluginError - it does not tell */
export async function pluginVersions(
  runner: Pick<PluginRunner, "pluginDirectories" | "timeoutMs">,
  plugin: string,
  { signal }: CallOptions = {},
): Promise<readonly string[]> {
  const { pluginDirectories: directories, timeoutMs } = runner;
  const input = JSON.stringify({ cniVersion: NEWEST_VERSION });
  // Values that plugins of old insist on.
  const dummy = { netns: "dummy", ifName: "dummy" };
  try {
    const text = await runPlugin({ plugin, command: "VERSION", directories, timeoutMs, input, signal, ...dummy });
    return VERSIONS.parse(JSON.parse(text)).supportedVersions;
  } catch (error) {
    // Before there were versions to ask for.
    if (findPluginError(error)?.failure.message.startsWith("unknown CNI_COMMAND") === true) return [OLDEST_VERSION];
    throw wrapError(error, `ask CNI plugin ${plugin} for its versions`);
  }
}

/** This does all of `steps`. @throws the first error of them, once all were tried */
export async function tryAll(steps: readonly (() => Promise<unknown>)[], signal?: AbortSignal): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps) {
    signal?.throwIfAborted();
    await step().catch((error: unknown) => errors.push(error));
  }
  if (errors.length > 0) throw errors[0];
}

interface Question extends CallOptions {
  readonly command: CniCommand;
  readonly attachment?: Attachment;
  readonly previous?: CniResult | undefined;
  readonly extra?: Readonly<Record<string, unknown>>;
}

async function ask(
  { pluginDirectories: directories, timeoutMs }: PluginRunner,
  network: NetworkConfig,
  plugin: PluginConfig,
  { command, attachment, previous, extra = {}, signal }: Question,
): Promise<string> {
  const { name, cniVersion } = network;
  const input = JSON.stringify({
    ...plugin.raw,
    name,
    cniVersion,
    ...(previous !== undefined && { prevResult: formatResult(previous, cniVersion) }),
    ...runtimeConfig(plugin, attachment),
    ...extra,
  });
  try {
    return await runPlugin({ plugin: plugin.type, command, directories, input, timeoutMs, signal, ...attachment });
  } catch (error) {
    throw wrapError(error, `${command} of CNI plugin ${plugin.type} for network ${name}`);
  }
}

/** A plugin is told only what it says it can be told. */
function runtimeConfig({ capabilities }: PluginConfig, attachment: Attachment | undefined): object {
  const given = Object.entries(attachment?.capabilityArgs ?? {}).filter(([name]) => capabilities.has(name));
  return given.length === 0 ? {} : { runtimeConfig: Object.fromEntries(given) };
}
