import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { invalidArgument, messageOf, systemErrorCode } from "@berth/errors";

import { type CdiEdits, type CdiSpec, formatCdiName, parseCdiSpec } from "./cdi-spec.ts";

/** Where device vendors put their specifications; a later directory wins. */
export const CDI_DIRECTORIES: readonly string[] = ["/etc/cdi", "/var/run/cdi"];

/** A device and the specification that it is from. */
export interface CdiDevice {
  readonly spec: CdiSpec;
  readonly edits: CdiEdits;
}

/** The devices that are known, by their full names, and what could not be read. */
export interface CdiDevices {
  readonly devices: ReadonlyMap<string, CdiDevice>;
  /** One for each file that is not understood, and for each device that two files of one directory tell of. */
  readonly problems: readonly Error[];
}

/** This reads every specification; a file that is not understood takes no other one with it. */
export async function loadCdi(directories: readonly string[] = CDI_DIRECTORIES): Promise<CdiDevices> {
  const devices = new Map<string, CdiDevice>();
  const problems: Error[] = [];
  for (const directory of directories) {
    const found = new Map<string, CdiDevice>();
    const doubled = new Set<string>();
    for (const path of await listSpecs(directory)) {
      const spec = await readSpec(path).catch((error: unknown) => {
        problems.push(invalidArgument(`${path}: ${messageOf(error)}`, { cause: error }));
      });
      if (!spec) continue;
      for (const [name, edits] of spec.devices) {
        const full = formatCdiName({ kind: spec.kind, name });
        if (found.has(full)) doubled.add(full);
        found.set(full, { spec, edits });
      }
    }
    for (const name of doubled) problems.push(invalidArgument(`two files of ${directory} tell of device ${name}`));
    for (const [name, device] of found) {
      if (doubled.has(name)) devices.delete(name);
      else devices.set(name, device);
    }
  }
  return { devices, problems };
}

async function listSpecs(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => /\.(?:json|ya?ml)$/.test(name))
      .toSorted()
      .map((name) => join(directory, name));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT" || systemErrorCode(error) === "ENOTDIR") return [];
    throw error;
  }
}

async function readSpec(path: string): Promise<CdiSpec> {
  const text = await readFile(path, "utf8");
  // JSON is YAML too, and what is written by programs often is
  if (!path.endsWith(".json") && !text.trimStart().startsWith("{"))
    throw invalidArgument("YAML is not understood: write the specification as JSON");
  return parseCdiSpec(JSON.parse(text));
}
