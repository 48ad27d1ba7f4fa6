import { createHash } from "node:crypto";
import {
  type BigIntStats,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type TarEntryWithContent, writeTar } from "@berth/archive";
import type { ContentProvider } from "@berth/core/content";
import type { Mount } from "@berth/core/mount";
import { notFound } from "@berth/errors";
import { lgetxattr, llistxattr } from "@berth/linux/files";
import { type Descriptor, formatDigest, MediaType } from "@berth/oci";

/** A directory of a test, and the blobs of its layers. */
export class LayerFixture implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "berth-diff-"));
  readonly #blobs = new Map<string, Uint8Array>();
  /** Blobs are read through `readAt` only, as from a store on another machine. */
  remote = false;

  readonly content: ContentProvider = {
    reader: async (digest) => {
      const bytes = this.#blobs.get(digest);
      if (bytes === undefined) throw notFound(`blob ${digest}`);
      const file = join(this.directory, digest);
      writeFileSync(file, bytes);
      return {
        size: bytes.length,
        ...(this.remote ? {} : { localPath: file }),
        readAt: async (offset, length) => Uint8Array.from(bytes.subarray(offset, offset + length)),
        [Symbol.asyncDispose]: async () => {},
      };
    },
  };

  add(bytes: Uint8Array, mediaType: string = MediaType.ociLayerGzip): Descriptor {
    const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
    this.#blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  async addTar(entries: Iterable<TarEntryWithContent>): Promise<Descriptor> {
    return this.add(Buffer.concat(await Array.fromAsync(writeTar(entries))), MediaType.ociLayer);
  }

  /** Makes a directory in this fixture. */
  make(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  bind(name: string): Mount {
    return { type: "bind", source: this.make(name), target: "", options: ["rbind", "rw"] };
  }

  /** The mount of a snapshot: `name` over `lowers`, the nearest first. */
  overlay(name: string, ...lowers: string[]): Mount {
    const options = [`workdir=${this.make(`${name}.work`)}`, `upperdir=${this.make(name)}`];
    const lower = (lowers.length > 0 ? lowers : ["empty"]).map((one) => this.make(one)).join(":");
    return { type: "overlay", source: "overlay", target: "", options: [...options, `lowerdir=${lower}`] };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** What a tree is, name by name: everything that an image records. */
export function describeTree(root: string, options: { readonly times?: boolean } = {}): Record<string, unknown> {
  const tree: Record<string, unknown> = {};
  const firstOfInode = new Map<bigint, string>();
  // Latin-1 has a character for every byte: names keep theirs whatever they are.
  const walk = (path: string): void => {
    for (const name of readdirSync(native(root, path), { encoding: "latin1" }).sort()) {
      const below = path === "" ? name : `${path}/${name}`;
      const file = native(root, below);
      const stat = lstatSync(file, { bigint: true });
      const first = firstOfInode.get(stat.ino);
      if (first === undefined) firstOfInode.set(stat.ino, below);
      tree[below] = describeFile(file, stat, first, options.times ?? true);
      if (stat.isDirectory()) walk(below);
    }
  };
  walk("");
  return tree;
}

function native(root: string, latin1: string): Buffer {
  return Buffer.from(`${Buffer.from(root).toString("latin1")}/${latin1}`, "latin1");
}

function describeFile(path: Buffer, stat: BigIntStats, first: string | undefined, times: boolean): unknown {
  return {
    mode: stat.mode.toString(8),
    owner: `${stat.uid}:${stat.gid}`,
    ...(times ? { mtime: String(stat.mtimeNs) } : {}),
    ...(stat.isDirectory() ? {} : { size: String(stat.size), blocks: stat.blocks > 2000n ? "many" : "few" }),
    ...(stat.isSymbolicLink() ? { target: readlinkSync(path, { encoding: "latin1" }) } : {}),
    ...(stat.isFile() ? { sha256: createHash("sha256").update(readFileSync(path)).digest("hex") } : {}),
    ...(stat.isBlockDevice() || stat.isCharacterDevice() ? { device: String(stat.rdev) } : {}),
    ...(first === undefined ? {} : { sameAs: first }),
    xattrs: Object.fromEntries(
      llistxattr(path)
        .sort()
        .map((name) => [name, Buffer.from(lgetxattr(path, name)).toString("hex")]),
    ),
  };
}
