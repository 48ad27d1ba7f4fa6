import type { ActiveMount, Mount } from "@berth/core/mount";
import { invalidArgument } from "@berth/errors";

/** `{{`, a trim mark, the inside, a trim mark, `}}`. Neither side of the inside can begin or end in space: matching is linear. */
const ACTION = /\{\{(- )?([^{}]*?)( -)?\}\}/g;
const CALL = /^([a-z]+)((?: +-?\d{1,9})+)$/;

type Function = (active: readonly ActiveMount[], args: readonly number[]) => string;

/** Name → number of arguments, and what it gives. */
const FUNCTIONS: ReadonlyMap<string, readonly [arity: number, call: Function]> = new Map([
  ["source", [1, (active, [at]) => mustFind(active, at).source]],
  ["target", [1, (active, [at]) => mustFind(active, at).target]],
  ["mount", [1, (active, [at]) => mustFind(active, at).mountPoint]],
  ["overlay", [2, (active, [from = 0, to = 0]) => mountPoints(active, from, to).join(":")]],
]);

/**
 * This expands templates in source, target and options of a mount over the mounts made before it: `{{ source i }}`, `{{ target i }}`,
 * `{{ mount i }}` for its mount point, `{{ overlay i j }}` for the mount points from one to another, in either direction, with colons
 * between. Of Go's templates this is the part that a mount can have a use for.
 *
 * @throws invalid_argument - an action is none of these, or speaks of a mount that is not there
 * @see containerd core/mount/manager/format.go
 */
export function expandTemplates(mount: Mount, active: readonly ActiveMount[]): Mount {
  return {
    ...mount,
    source: expandTemplate(mount.source, active),
    target: expandTemplate(mount.target, active),
    options: mount.options.map((option) => expandTemplate(option, active)),
  };
}

/** This expands one text, see {@link expandTemplates}. */
export function expandTemplate(text: string, active: readonly ActiveMount[]): string {
  if (!text.includes("{{")) return text;
  let result = "";
  let trimNext = false;
  let end = 0;
  const literal = (upTo: number): string => {
    const part = text.slice(end, upTo);
    if (part.includes("{{")) throw invalidArgument(`template ${quote(text)} has an action that does not end`);
    return trimNext ? part.trimStart() : part;
  };
  for (const match of text.matchAll(ACTION)) {
    const [whole, trimBefore, inside = "", trimAfter] = match;
    const before = literal(match.index);
    result += trimBefore === undefined ? before : before.trimEnd();
    result += call(inside.trim(), text, active);
    trimNext = trimAfter !== undefined;
    end = match.index + whole.length;
  }
  return result + literal(text.length);
}

function call(inside: string, text: string, active: readonly ActiveMount[]): string {
  const [, name = "", words = ""] = CALL.exec(inside) ?? [];
  const args = words
    .split(" ")
    .filter((word) => word !== "")
    .map(Number);
  const [arity, run] = FUNCTIONS.get(name) ?? [];
  if (run === undefined || args.length !== arity) {
    throw invalidArgument(`template ${quote(text)}: ${quote(inside)} is no function of mounts`);
  }
  return run(active, args);
}

function mountPoints(active: readonly ActiveMount[], from: number, to: number): string[] {
  mustFind(active, from);
  mustFind(active, to);
  const range = active.slice(Math.min(from, to), Math.max(from, to) + 1).map(({ mountPoint }) => mountPoint);
  return from > to ? range.toReversed() : range;
}

function mustFind(active: readonly ActiveMount[], at = -1): ActiveMount {
  const found = at < 0 ? undefined : active[at];
  if (found === undefined) throw invalidArgument(`template speaks of mount ${at}, of ${active.length}`);
  return found;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
