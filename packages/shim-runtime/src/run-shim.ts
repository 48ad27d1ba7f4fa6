import { writeSync } from "node:fs";
import { basename } from "node:path";

import { validateIdentifier } from "@berth/core/namespaces";
import { invalidArgument, messageOf } from "@berth/errors";

import { type ShimDefinition, UNVERSIONED } from "./define-shim.ts";
import { parseShimEnvironment } from "./environment.ts";
import { parseShimFlags, type ShimFlags } from "./flags.ts";
import type { ActionInput } from "./start-action.ts";

/** What a shim was called with. */
export interface RunShimOptions {
  /** The words after the name of the program; default: those of this process. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** The serving process adopts orphans among its descendants; default true. */
  readonly subreaper?: boolean;
  /** It takes every child, orphans included; default true. Without, only those of the context's reaper: `node:child_process` works then. */
  readonly reaper?: boolean;
  /** It writes a log for the daemon; default true. Without, the `log` of the context drops everything. */
  readonly logger?: boolean;
}

/**
 * This does what the command line asks: `start`, `delete`, `-info`, `-v`, or without an action serve until the last
 * container is gone. It returns the exit status; what the daemon reads is on the standard output and nothing else is.
 *
 * Each action loads only what it needs.
 */
export async function runShim(definition: ShimDefinition, options: RunShimOptions = {}): Promise<number> {
  try {
    const flags = parseShimFlags(options.args ?? process.argv.slice(2));
    print(await dispatch(definition, flags, options));
    return 0;
  } catch (error) {
    warn(`${basename(process.argv[1] ?? definition.runtime)}: ${messageOf(error)}\n`);
    return 1;
  }
}

async function dispatch(
  definition: ShimDefinition,
  flags: ShimFlags,
  { env = process.env, subreaper = true, reaper = true, logger = true }: RunShimOptions,
): Promise<Uint8Array | string | undefined> {
  if (flags.version) return versionText(definition);
  if (flags.info) return await (await import("./info-action.ts")).infoAction({ definition });
  const environment = parseShimEnvironment(env);
  if (flags.namespace === "") throw invalidArgument("shim namespace cannot be empty");
  const input = { definition, flags: { ...flags, address: flags.address || environment.grpcAddress }, environment };
  switch (flags.action) {
    case "start":
      validateIdentifier(flags.id, "container id");
      return await (await import("./start-action.ts")).startAction(input);
    case "delete":
      return await runDelete(input);
    case "":
      await (await import("./serve-action.ts")).serveAction(input, { subreaper, reaper, logger });
      return undefined;
    default:
      throw invalidArgument(`unknown action ${JSON.stringify(flags.action)}`);
  }
}

async function runDelete(input: ActionInput): Promise<Uint8Array | undefined> {
  const { id, more } = input.flags;
  for (const each of [id, ...more]) validateIdentifier(each, "container id");
  const { deleteAction, deleteManyAction } = await import("./delete-action.ts");
  if (more.length === 0) return await deleteAction(input);
  await deleteManyAction(input, print);
  return undefined;
}

function versionText({ runtime, version = UNVERSIONED, revision = "" }: ShimDefinition): string {
  return `${runtime}:\n  Version:  ${version}\n  Revision: ${revision}\n  Node version: ${process.version}\n`;
}

function print(output: Uint8Array | string | undefined): void {
  const bytes = typeof output === "string" ? new TextEncoder().encode(output) : output;
  for (let sent = 0; bytes && sent < bytes.length;) sent += writeSync(1, bytes, sent);
}

function warn(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // nobody listens; the exit status tells
  }
}
