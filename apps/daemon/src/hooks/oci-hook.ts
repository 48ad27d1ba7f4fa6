import { readFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { json } from "node:stream/consumers";

import { invalidArgument, wrapError } from "@berth/errors";
import type { ReplacementProgram } from "@berth/linux/process";
import { z } from "zod";

import type { TemplateFunctions } from "./hook-template.ts";
import { expandTemplate } from "./hook-template.ts";

/** What a runtime tells a hook. */
const stateSchema = z.object({
  id: z.string().default(""),
  bundle: z.string().default(""),
  pid: z.number().int().default(0),
  status: z.string().default(""),
  annotations: z.record(z.string(), z.string()).nullish(),
});

const specSchema = z.object({ root: z.object({ path: z.string() }) });

/** What a hook is started with. */
export interface HookStart {
  /** The program and its arguments, to be filled in. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The state of the container, as JSON. */
  readonly input: AsyncIterable<Uint8Array>;
}

/**
 * This fills facts of a container into the arguments and the environment of a hook: `{{id}}`, `{{bundle}}`, `{{rootfs}}`, `{{pid}}`,
 * `{{status}}` and `{{annotation "key"}}`.
 *
 * @throws invalid_argument - the state, the specification in its bundle or a text cannot be read
 * @see containerd cmd/containerd/command/oci-hook.go
 */
export async function resolveHook({ args, env, input }: HookStart): Promise<ReplacementProgram> {
  const state = parse(stateSchema, await readState(input), "state of the container");
  const functions: TemplateFunctions = {
    id: () => state.id,
    bundle: () => state.bundle,
    pid: () => String(state.pid),
    status: () => state.status,
    rootfs: await rootfsOf(state.bundle).then((rootfs) => () => rootfs),
    annotation: (key) => new Map(Object.entries(state.annotations ?? {})).get(key ?? "") ?? "",
  };
  const [path = "", ...rest] = args.map((text) => expandTemplate(text, functions));
  const entries = Object.entries(env).map(([name, text]) => [name, text && expandTemplate(text, functions)]);
  return { path, args: [path, ...rest], env: Object.fromEntries(entries) as HookStart["env"] }; // fromEntries forgets the type
}

async function readState(input: AsyncIterable<Uint8Array>): Promise<unknown> {
  try {
    // It takes any iterable of bytes; its type names streams of Node alone.
    return await json(input as NodeJS.ReadableStream & AsyncIterable<Uint8Array>);
  } catch (error) {
    throw invalidArgument("standard input is no state of a container", { cause: error });
  }
}

async function rootfsOf(bundle: string): Promise<string> {
  const path = join(bundle, "config.json");
  let spec: unknown;
  try {
    spec = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw wrapError(error, `read ${path}`);
  }
  const { root } = parse(specSchema, spec, path);
  return isAbsolute(root.path) ? root.path : join(bundle, root.path);
}

function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const { data, error } = schema.safeParse(value);
  if (error !== undefined) throw invalidArgument(`${what}: ${z.prettifyError(error)}`, { cause: error });
  return data as T; // safeParse gives one or the other
}
