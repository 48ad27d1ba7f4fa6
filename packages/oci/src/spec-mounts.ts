import { posix } from "node:path";

import { invalidArgument } from "@berth/errors";

import type { SpecMount, SpecOption } from "./spec-model.ts";

/**
 * This reads `type=bind,src=/host,dst=/inside,options=rbind:ro`: comma-separated (CSV: a part with a comma or quote in it
 * is put into double quotes) keys `type`, `source`/`src`, `destination`/`dst` and `options`, which are joined by colons.
 *
 * @throws invalid_argument - a part without `=`, an unknown key, no destination, or broken quotes
 */
export function parseMountFlag(text: string): SpecMount {
  const fields: { type?: string; source?: string; destination?: string; options?: readonly string[] } = {};
  for (const part of splitCsv(text)) {
    const equals = part.indexOf("=");
    if (equals < 0) throw invalidArgument(`invalid mount ${JSON.stringify(text)}: expected key=value`);
    const value = part.slice(equals + 1);
    const key = part.slice(0, equals);
    if (key === "type") fields.type = value;
    else if (key === "source" || key === "src") fields.source = value;
    else if (key === "destination" || key === "dst") fields.destination = value;
    else if (key === "options") fields.options = value.split(":");
    else throw invalidArgument(`invalid mount ${JSON.stringify(text)}: unknown key ${JSON.stringify(key)}`);
  }
  const { destination = "", ...rest } = fields;
  if (destination === "") throw invalidArgument(`invalid mount ${JSON.stringify(text)}: destination is missing`);
  return { destination, ...rest };
}

/** This writes a mount as a flag; the inverse of {@link parseMountFlag} as long as no option holds a colon. */
export function formatMountFlag(mount: SpecMount): string {
  const parts = [
    ...(mount.type === undefined ? [] : [`type=${mount.type}`]),
    ...(mount.source === undefined ? [] : [`src=${mount.source}`]),
    `dst=${mount.destination}`,
    ...(mount.options === undefined ? [] : [`options=${mount.options.join(":")}`]),
  ];
  return parts.map((part) => (/[",\r\n]/.test(part) ? `"${part.replaceAll('"', '""')}"` : part)).join(",");
}

/** This adds mounts after those that are there; older ones at the same destinations are taken out. */
export function withMounts(mounts: readonly SpecMount[]): SpecOption {
  const taken = new Set(mounts.map(({ destination }) => placeOf(destination)));
  return (spec) => ({
    ...spec,
    mounts: [...(spec.mounts ?? []).filter(({ destination }) => !taken.has(placeOf(destination))), ...mounts],
  });
}

/** This turns `ro` into `rw` on the mounts of a type. */
export function withWritableMounts(type: "sysfs" | "cgroup"): SpecOption {
  return (spec) => ({
    ...spec,
    mounts: (spec.mounts ?? []).map((mount) =>
      mount.type === type
        ? { ...mount, options: (mount.options ?? []).map((option) => (option === "ro" ? "rw" : option)) }
        : mount,
    ),
  });
}

function placeOf(destination: string): string {
  const place = posix.normalize(destination);
  return place.length > 1 && place.endsWith("/") ? place.slice(0, -1) : place;
}

function splitCsv(text: string): string[] {
  const broken = (): Error => invalidArgument(`invalid mount ${JSON.stringify(text)}: broken quotes`);
  const parts: string[] = [];
  let at = 0;
  do {
    if (text[at] === '"') {
      const { value, end } = readQuoted(text, at + 1, broken);
      parts.push(value);
      at = end;
      if (at < text.length && text[at] !== ",") throw broken();
    } else {
      const comma = text.indexOf(",", at);
      const end = comma < 0 ? text.length : comma;
      const part = text.slice(at, end);
      if (/["\r\n]/.test(part)) throw broken();
      parts.push(part);
      at = end;
    }
  } while (at++ < text.length);
  return parts;
}

function readQuoted(text: string, start: number, broken: () => Error): { value: string; end: number } {
  let value = "";
  for (let at = start; ;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) throw broken();
    value += text.slice(at, quote);
    if (text[quote + 1] !== '"') return { value, end: quote + 1 };
    value += '"';
    at = quote + 2;
  }
}
