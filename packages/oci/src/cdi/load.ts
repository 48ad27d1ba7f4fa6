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
  return parseCdiSpec(path.endsWith(".json") ? JSON.parse(text) : await parseYaml(text));
}

/** What Go's readers of YAML make of a text, who follow YAML 1.1: a mode such as `0666` is octal, a name such as `0` is a text. */
async function parseYaml(text: string): Promise<unknown> {
  // most machines have no such file, and it is as large as all the rest of this package
  const { parse } = await import("yaml");
  const spec: unknown = parse(text, { version: "1.1", logLevel: "error" });
  if (typeof spec !== "object" || spec === null || !("devices" in spec) || !Array.isArray(spec.devices)) return spec;
  const devices = spec.devices.map((device: unknown) =>
    typeof device === "object" && device !== null && "name" in device && typeof device.name === "number"
      ? { ...device, name: String(device.name) }
      : device,
  );
  return { ...spec, devices };
}
