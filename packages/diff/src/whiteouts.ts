import { constants, readdirSync, type Stats } from "node:fs";

import type { TarHeader } from "@berth/archive";
import { invalidArgument, systemErrorCode } from "@berth/errors";
import { closeFd, descriptorPath, fchownat, lsetxattr, mknodat, openat2, removeTree } from "@berth/linux/files";

import { type LayerRoot, type OpenDirectory, pathIn, statIn } from "./layer-root.ts";
import { fromBytes, printable, splitPath, toNative } from "./native-name.ts";

const PREFIX = ".wh.";
const OPAQUE = ".wh..wh..opq";

/** A deletion that an archive names. */
export type Whiteout = { readonly kind: "opaque" } | { readonly kind: "name"; readonly base: string };

/**
 * This reads the last component of a path as a whiteout; `undefined` when it is none.
 *
 * @throws invalid_argument - it would delete the directory itself or the one above
 */
export function parseWhiteout(base: string): Whiteout | undefined {
  if (!base.startsWith(PREFIX)) return undefined;
  if (base === OPAQUE) return { kind: "opaque" };
  const hidden = base.slice(PREFIX.length);
  if (hidden === "" || hidden === "." || hidden === "..")
    throw invalidArgument(`invalid whiteout name ${printable(base)}`);
  return { kind: "name", base: hidden };
}

/** How deletions are made real. A whiteout hides what the layers below have, never what its own layer has. */
export interface Whiteouts {
  /** An entry of this layer is at this name now. */
  unpacked(directory: OpenDirectory, base: string): void;
  /** Nothing of the layers below shows through in the directory. */
  opaque(directory: OpenDirectory): void;
  /** The name is gone. */
  hide(directory: OpenDirectory, base: string, header: TarHeader): void;
  /** What `stat` describes stood for a deletion, and a directory takes its place. */
  isMark(stat: Stats): boolean;
}

/** Deletions as overlayfs records them in an upper directory: a character device 0:0, and an attribute. */
export class OverlayWhiteouts implements Whiteouts {
  readonly #opaqueXattr: string;

  /** @param userXattr the overlay is mounted with `userxattr` */
  constructor(userXattr: boolean) {
    this.#opaqueXattr = `${userXattr ? "user" : "trusted"}.overlay.opaque`;
  }

  unpacked(): void {}

  opaque(directory: OpenDirectory): void {
    this.#mark(directory.fd);
  }

  hide(directory: OpenDirectory, base: string, header: TarHeader): void {
    const name = toNative(base);
    try {
      mknodat(directory.fd, name, constants.S_IFCHR, 0n);
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      // This layer has the name itself; of a directory, only what the layers below have in it is hidden.
      if (statIn(directory, base)?.isDirectory() === true) this.#mark(pathIn(directory, base));
      return;
    }
    fchownat(directory.fd, name, header.uid, header.gid);
  }

  #mark(subject: number | string | Buffer): void {
    lsetxattr(subject, this.#opaqueXattr, Uint8Array.of(0x79)); // "y"
  }

  isMark(stat: Stats): boolean {
    return stat.isCharacterDevice() && stat.rdev === 0;
  }
}

/** Deletions by deleting, where the layers below are in the same tree. */
export class NaiveWhiteouts implements Whiteouts {
  readonly #root: LayerRoot;
  /** Real paths of this layer's entries, and of the directories above them. */
  readonly #unpacked = new Set<string>();

  constructor(root: LayerRoot) {
    this.#root = root;
  }

  unpacked(directory: OpenDirectory, base: string): void {
    const parent = this.#root.realPath(directory);
    this.#unpacked.add(parent === "" ? base : `${parent}/${base}`);
    for (let above = parent; above !== "" && !this.#unpacked.has(above); above = splitPath(above).directory) {
      this.#unpacked.add(above);
    }
  }

  opaque(directory: OpenDirectory): void {
    this.#empty(directory, this.#root.realPath(directory));
  }

  hide(directory: OpenDirectory, base: string): void {
    const parent = this.#root.realPath(directory);
    const path = parent === "" ? base : `${parent}/${base}`;
    if (!this.#unpacked.has(path)) {
      removeTree(directory.fd, toNative(base));
      this.#root.invalidate();
    } else if (statIn(directory, base)?.isDirectory() === true) this.#emptyChild(directory, base, path);
  }

  /** Removes what is not of this layer; goes down only where something is. */
  #empty(directory: OpenDirectory, real: string): void {
    for (const bytes of readdirSync(descriptorPath(directory.fd), { encoding: "buffer" })) {
      const base = fromBytes(bytes);
      const path = real === "" ? base : `${real}/${base}`;
      if (!this.#unpacked.has(path)) {
        removeTree(directory.fd, bytes);
        this.#root.invalidate();
      } else if (statIn(directory, base)?.isDirectory() === true) this.#emptyChild(directory, base, path);
    }
  }

  #emptyChild(parent: OpenDirectory, base: string, path: string): void {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    const fd = openat2(parent.fd, toNative(base), { flags });
    try {
      this.#empty({ fd, path }, path);
    } finally {
      closeFd(fd);
    }
  }

  isMark(): boolean {
    return false;
  }
}
