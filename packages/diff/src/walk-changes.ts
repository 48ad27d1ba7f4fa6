import type { BigIntStats } from "node:fs";

import { isSameFile, type TreeFile } from "./same-file.ts";
import { TreeDirectory } from "./tree-directory.ts";

/** A directory on the way to a change: as it is in the upper tree. */
export interface ParentDirectory {
  /** Below the root of the tree; Latin-1. */
  readonly path: string;
  readonly stat: BigIntStats;
  readonly directory: TreeDirectory;
}

interface ChangeBase {
  /** Below the root of the tree; Latin-1. */
  readonly path: string;
  /** The directories above, outermost first; valid until the next change. */
  readonly parents: readonly ParentDirectory[];
}

/** A name that is not in the upper tree any more. */
export interface Deletion extends ChangeBase {
  readonly kind: "delete";
}

/** A name of the upper tree that is new or other than below, or `linked`: the same, but it may be a hard link to one that is not. */
export interface Upserted extends ChangeBase {
  readonly kind: "changed" | "linked";
  /** Valid until the next change. */
  readonly file: TreeFile;
}

export type Change = Deletion | Upserted;

/** Two trees to compare. */
export interface Trees {
  readonly lower: string;
  readonly upper: string;
  /**
   * The upper directory of an overlay, of which `upper` is the whole and `lower` what is below it: what it does not have is
   * the same in both, and is not looked at.
   */
  readonly top?: string | undefined;
}

interface Frame extends ParentDirectory {
  readonly lower: TreeDirectory | undefined;
  readonly top: TreeDirectory | undefined;
  readonly names: readonly string[];
  at: number;
}

/**
 * This yields what is different in the upper tree, a directory before what is in it, names in order of their bytes: the same trees
 * give the same changes. Leaving the loop closes everything.
 *
 * @see containerd continuity fs/diff.go, doubleWalkDiff
 */
export function* walkChanges({ lower, upper, top }: Trees): Generator<Change, void, undefined> {
  const walk = new Walk();
  try {
    const root = TreeDirectory.root(upper);
    const stat = root.stat(".");
    if (stat === undefined) return;
    walk.enter("", stat, root, TreeDirectory.root(lower), top === undefined ? undefined : TreeDirectory.root(top));
    for (;;) {
      const next = walk.next();
      if (next === undefined) return;
      yield* walk.compare(next.frame, next.name);
    }
  } finally {
    walk.leaveAll();
  }
}

class Walk {
  readonly #frames: Frame[] = [];

  /** Owns the directories from here on. */
  enter(
    path: string,
    stat: BigIntStats,
    directory: TreeDirectory,
    lower: TreeDirectory | undefined,
    top: TreeDirectory | undefined,
  ): void {
    // Then what the top directory does not have is not the same in both trees, here and in all directories below.
    const hides = top !== undefined && hidesLower(top);
    if (hides) top[Symbol.dispose]();
    const known = hides ? undefined : top;
    this.#frames.push({ path, stat, directory, lower, top: known, names: namesOf(directory, lower, known), at: 0 });
  }

  /** The next name, of the innermost directory that has one left. */
  next(): { readonly frame: Frame; readonly name: string } | undefined {
    for (;;) {
      const frame = this.#frames.at(-1);
      if (frame === undefined) return undefined;
      const name = frame.names[frame.at++];
      if (name !== undefined) return { frame, name };
      this.#leave();
    }
  }

  *compare(frame: Frame, name: string): Generator<Change, void, undefined> {
    const path = frame.path === "" ? name : `${frame.path}/${name}`;
    // The root has no entry of its own.
    const parents = this.#frames.slice(1);
    const before = frame.lower?.stat(name);
    const stat = frame.directory.stat(name);
    if (stat === undefined) {
      if (before !== undefined) yield { kind: "delete", path, parents };
      return;
    }
    const file: TreeFile = { directory: frame.directory, name, stat };
    const same =
      before !== undefined &&
      frame.lower !== undefined &&
      isSameFile({ directory: frame.lower, name, stat: before }, file);
    if (!same) yield { kind: "changed", path, parents, file };
    else if (!stat.isDirectory() && stat.nlink > 1n) yield { kind: "linked", path, parents, file };
    if (stat.isDirectory()) this.#descend(frame, name, path, stat, before?.isDirectory() === true);
  }

  #descend(frame: Frame, name: string, path: string, stat: BigIntStats, inBoth: boolean): void {
    const directory = frame.directory.enter(name);
    if (directory === undefined) return;
    this.enter(
      path,
      stat,
      directory,
      inBoth ? frame.lower?.enter(name) : undefined,
      inBoth ? frame.top?.enter(name) : undefined,
    );
  }

  #leave(): void {
    const frame = this.#frames.pop();
    frame?.directory[Symbol.dispose]();
    frame?.lower?.[Symbol.dispose]();
    frame?.top?.[Symbol.dispose]();
  }

  leaveAll(): void {
    while (this.#frames.length > 0) this.#leave();
  }
}

/** Opaque: nothing of the layers below shows through. Redirected: they have it under another name. */
function hidesLower(top: TreeDirectory): boolean {
  return ["opaque", "redirect"].some(
    (mark) => top.xattr(`trusted.overlay.${mark}`) !== undefined || top.xattr(`user.overlay.${mark}`) !== undefined,
  );
}

/** Names that may differ: of both trees, or of the top directory, which has one for every difference. */
function namesOf(
  directory: TreeDirectory,
  lower: TreeDirectory | undefined,
  top: TreeDirectory | undefined,
): readonly string[] {
  if (lower === undefined) return directory.names();
  if (top !== undefined) return top.names();
  return [...new Set([...lower.names(), ...directory.names()])].sort();
}
