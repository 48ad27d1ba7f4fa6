import type { Image } from "@berth/core/images";
import { invalidArgument } from "@berth/errors";
import { isDigest } from "@berth/oci";

import { parseDuration } from "../output/duration.ts";
import type { Inventory } from "./inventory.ts";

const PINNED_LABEL = "io.cri-containerd.pinned";

/**
 * This returns the names of the images that are in use: a container was made of the same target, whatever name it goes by; a lease holds the target or the name, as
 * that of a pull does; or they are pinned.
 */
export function usedImages({ images, containers, leased }: Inventory): ReadonlySet<string> {
  const named = new Set(containers.map(({ image }) => image));
  const held = new Set(leased.map(({ type, id }) => `${type} ${id}`));
  const targets = new Set(images.filter(({ name }) => named.has(name)).map(({ target }) => target.digest));
  const isUsed = ({ name, target, labels }: Image): boolean =>
    named.has(name) ||
    targets.has(target.digest) ||
    held.has(`content ${target.digest}`) ||
    held.has(`images ${name}`) ||
    labels.has(PINNED_LABEL);
  return new Set(images.filter(isUsed).map(({ name }) => name));
}

/**
 * This returns the images that nobody can ask for by a name: digests alone, and digests below a prefix that names no repository, as
 * imports and builds leave them. One whose target another name stands for is none of them.
 */
export function danglingImages(images: readonly Image[]): readonly Image[] {
  const named = new Set(images.filter(({ name }) => !hasNoName(name)).map(({ target }) => target.digest));
  return images.filter(({ name, target }) => hasNoName(name) && !named.has(target.digest));
}

function hasNoName(name: string): boolean {
  const at = name.indexOf("@");
  if (at === -1) return isDigest(name);
  return isDigest(name.slice(at + 1)) && !name.slice(0, at).includes("/");
}

/** What `--filter` chooses: filters of the daemon, any of which must match, and conditions, all of which must hold. */
export interface PruneFilter {
  readonly daemonFilters: readonly string[];
  readonly matches: (object: Pick<Image, "labels" | "createdAt">) => boolean;
}

/**
 * This reads the values of `--filter`: `until=24h` or `until=<time>`, `label=key`, `label=key=value`, `label!=…`; all else is a filter of the daemon's, as
 * in lists.
 *
 * @throws invalid_argument - a time is none, or `until!=…`
 */
export function parsePruneFilters(texts: readonly string[], now: number): PruneFilter {
  const daemonFilters: string[] = [];
  const conditions: PruneFilter["matches"][] = [];
  for (const text of texts) {
    const [, name, negation, value = ""] = /^(until|label)(!?)=(?!=)(.*)$/s.exec(text) ?? [];
    if (name === undefined) daemonFilters.push(text);
    else if (name === "until") {
      if (negation === "!") throw invalidArgument(`${text}: until has no negation`);
      const limit = parseUntil(value, now);
      conditions.push(({ createdAt }) => createdAt < limit);
    } else {
      const [key = "", ...rest] = value.split("=");
      const wanted = rest.length === 0 ? undefined : rest.join("=");
      conditions.push(({ labels }) => hasLabel(labels, key, wanted) !== (negation === "!"));
    }
  }
  return { daemonFilters, matches: (object) => conditions.every((holds) => holds(object)) };
}

function hasLabel(labels: Image["labels"], key: string, wanted: string | undefined): boolean {
  const value = labels.get(key);
  return value !== undefined && (wanted === undefined || value === wanted);
}

function parseUntil(text: string, now: number): number {
  const ago = parseDuration(text);
  if (ago !== undefined) return now - ago;
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw invalidArgument(`until=${text}: expected a length of time such as 24h, or a time such as 2026-11-21`);
  return time;
}
