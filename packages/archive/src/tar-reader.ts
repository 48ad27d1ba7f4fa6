import { dataLoss, invalidArgument } from "@berth/errors";

import { checkPathBudgets, DEFAULT_TAR_BUDGETS, exceeded, type TarBudgets } from "./budgets.ts";
import { EntryContent } from "./entry-content.ts";
import { ExtensionHeaders } from "./extension-headers.ts";
import { BLOCK_SIZE, type HeaderBlock, isZeroBlock, parseHeaderBlock } from "./header-block.ts";
import { appendGnuSegments, checkSegments, InlineSparseMap, type SparseSegment } from "./sparse-map.ts";
import { parseUnsigned } from "./tar-numbers.ts";
import type { TarHandlers } from "./tar-handlers.ts";

/** What the bytes that come next are. */
type State = "header" | "extension" | "gnu-map" | "inline-map" | "content" | "skip" | "end" | "failed";

/**
 * A tar parser that is fed: it holds one block and one extension header, never content, and allocates nothing by a
 * length that the archive only claims.
 *
 * It reads V7, ustar, GNU and PAX. An archive may end without the two zero blocks. Not safe for use by two at once.
 */
export class TarReader {
  readonly #handlers: TarHandlers;
  readonly #budgets: TarBudgets;
  readonly #extensions = new ExtensionHeaders();
  readonly #block = Buffer.allocUnsafeSlow(BLOCK_SIZE);
  #filled = 0;
  #state: State = "header";
  #bytes = 0;
  #entries = 0;
  #zeroBlocks = 0;
  /** Bytes still to come of the extension, content or skip, and the padding behind. */
  #remaining = 0;
  #padding = 0;
  #extensionType = "";
  #extension: Uint8Array[] = [];
  #pending: HeaderBlock | undefined;
  #fileSize = 0;
  #segments: SparseSegment[] | undefined;
  #inlineMap = new InlineSparseMap();
  readonly #entryContent: EntryContent;

  constructor(handlers: TarHandlers, budgets: Partial<TarBudgets> = {}) {
    this.#handlers = handlers;
    this.#entryContent = new EntryContent(handlers);
    this.#budgets = { ...DEFAULT_TAR_BUDGETS, ...budgets };
  }

  /** The end marker was seen; whatever is written from now on is ignored. */
  get ended(): boolean {
    return this.#state === "end";
  }

  /**
   * Parses the next bytes, calling the handlers for all that they complete.
   *
   * @throws invalid_argument - not a tar archive, or a malformed one
   * @throws resource_exhausted - a budget is exceeded
   */
  write(chunk: Uint8Array): void {
    if (this.#state === "failed") throw invalidArgument("tar: an error came before");
    this.#bytes += chunk.length;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    try {
      if (this.#bytes > this.#budgets.maxBytes) throw exceeded("bytes", this.#budgets.maxBytes);
      let at = 0;
      while (at < bytes.length) at = this.#step(bytes, at);
    } catch (error) {
      this.#state = "failed";
      throw error;
    }
  }

  /** So many of the bytes that come next are content of the entry, or padding: {@link skip} passes over them. */
  get skippable(): number {
    return this.#state === "content" || this.#state === "skip" ? this.#remaining + this.#padding : 0;
  }

  /**
   * Passes over the bytes that {@link skippable} counts, for a source where one can go on elsewhere; no handler is given them.
   *
   * @throws resource_exhausted - a budget is exceeded
   */
  skip(): void {
    this.#bytes += this.skippable;
    if (this.#bytes > this.#budgets.maxBytes) throw exceeded("bytes", this.#budgets.maxBytes);
    if (this.#state === "content") this.#handlers.endEntry();
    if (this.#state === "content" || this.#state === "skip") this.#startSkip(0, 0);
  }

  /**
   * Says that no bytes follow.
   *
   * @throws data_loss - the archive stops inside an entry or a header
   */
  end(): void {
    const state = this.#state;
    if (state === "end" || state === "failed") return;
    // Nothing is lost when only the padding behind the last entry is missing.
    const clean =
      state === "skip" ? this.#remaining === 0 : state === "header" && this.#filled === 0 && !this.#extensions.present;
    this.#state = clean ? "end" : "failed";
    if (!clean) throw dataLoss(`tar: archive is cut off after ${this.#bytes} bytes`);
  }

  #step(bytes: Buffer, at: number): number {
    switch (this.#state) {
      case "content":
        return this.#content(bytes, at);
      case "skip":
        return this.#skip(bytes, at);
      case "extension":
        return this.#collectExtension(bytes, at);
      case "end":
      case "failed":
        return bytes.length;
      default:
        return this.#blocks(bytes, at);
    }
  }

  /** Cuts the stream into blocks, without copying one that is in the chunk as a whole. */
  #blocks(bytes: Buffer, at: number): number {
    if (this.#filled === 0 && bytes.length - at >= BLOCK_SIZE) {
      this.#takeBlock(bytes.subarray(at, at + BLOCK_SIZE));
      return at + BLOCK_SIZE;
    }
    const taken = bytes.copy(this.#block, this.#filled, at, at + BLOCK_SIZE - this.#filled);
    this.#filled += taken;
    if (this.#filled === BLOCK_SIZE) {
      this.#filled = 0;
      this.#takeBlock(this.#block);
    }
    return at + taken;
  }

  #takeBlock(block: Buffer): void {
    if (this.#state === "gnu-map") this.#gnuMap(block);
    else if (this.#state === "inline-map") this.#inlineMapBlock(block);
    else this.#header(block);
  }

  #header(block: Buffer): void {
    if (isZeroBlock(block)) {
      if (++this.#zeroBlocks === 2) this.#finish();
      return;
    }
    if (this.#zeroBlocks > 0) throw invalidArgument("tar: a zero block inside the archive");
    if (++this.#entries > this.#budgets.maxEntries) throw exceeded("entries", this.#budgets.maxEntries);
    const header = parseHeaderBlock(block);
    if (header.typeflag === "x" || header.typeflag === "L" || header.typeflag === "K") this.#startExtension(header);
    else if (header.typeflag === "g") this.#startSkip(header.size, paddingOf(header.size));
    else this.#startEntry(header, block);
  }

  #finish(): void {
    if (this.#extensions.present) throw dataLoss("tar: archive ends after an extension header");
    this.#state = "end";
  }

  #startExtension(header: HeaderBlock): void {
    if (header.size > this.#budgets.maxExtensionBytes)
      throw exceeded("extension header bytes", this.#budgets.maxExtensionBytes);
    this.#extensionType = header.typeflag;
    this.#extension = [];
    this.#remaining = header.size;
    this.#padding = paddingOf(header.size);
    this.#state = "extension";
    if (header.size === 0) this.#endExtension();
  }

  #collectExtension(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#remaining);
    // A copy: the records outlive the chunk.
    this.#extension.push(Uint8Array.from(bytes.subarray(at, end)));
    this.#remaining -= end - at;
    if (this.#remaining === 0) this.#endExtension();
    return end;
  }

  #endExtension(): void {
    const [first] = this.#extension;
    const body = this.#extension.length === 1 && first !== undefined ? first : Buffer.concat(this.#extension);
    this.#extension = [];
    this.#extensions.add(this.#extensionType, body);
    this.#startSkip(0, this.#padding);
  }

  #startEntry(header: HeaderBlock, block: Buffer): void {
    this.#remaining = this.#extensions.storedSize(header);
    this.#padding = paddingOf(this.#remaining);
    this.#segments = undefined;
    if (header.typeflag === "S") return this.#startGnuMap(header, block);
    const sparse = this.#extensions.sparse(header);
    if (sparse?.segments === "inline") {
      this.#pending = header;
      this.#fileSize = sparse.size;
      this.#inlineMap = new InlineSparseMap();
      this.#state = "inline-map";
      return;
    }
    if (sparse !== undefined) this.#segments = sparse.segments;
    this.#openEntry(header, sparse?.size ?? this.#remaining);
  }

  #startGnuMap(header: HeaderBlock, block: Buffer): void {
    this.#fileSize = parseUnsigned(block, 483, 12, "real size");
    this.#segments = [];
    appendGnuSegments(block, 386, 4, this.#segments);
    if (block[482] === 0) return this.#openEntry(header, this.#fileSize);
    this.#pending = header;
    this.#state = "gnu-map";
  }

  #gnuMap(block: Buffer): void {
    const segments = (this.#segments ??= []);
    appendGnuSegments(block, 0, 21, segments);
    if (segments.length * 24 > this.#budgets.maxExtensionBytes)
      throw exceeded("sparse map bytes", this.#budgets.maxExtensionBytes);
    if (block[504] !== 0) {
      // Without this a chain of empty tables would never end.
      if (++this.#entries > this.#budgets.maxEntries) throw exceeded("entries", this.#budgets.maxEntries);
      return;
    }
    if (this.#pending !== undefined) this.#openEntry(this.#pending, this.#fileSize);
  }

  /** PAX 1.0: the map stands at the start of the content, filled up to a block. */
  #inlineMapBlock(block: Buffer): void {
    if (this.#remaining < BLOCK_SIZE) throw invalidArgument("tar: sparse map is longer than its entry");
    this.#remaining -= BLOCK_SIZE;
    const segments = this.#inlineMap.take(block);
    if (this.#inlineMap.bytes > this.#budgets.maxExtensionBytes)
      throw exceeded("sparse map bytes", this.#budgets.maxExtensionBytes);
    if (segments === undefined || this.#pending === undefined) return;
    this.#segments = segments;
    this.#openEntry(this.#pending, this.#fileSize);
  }

  #openEntry(block: HeaderBlock, size: number): void {
    this.#pending = undefined;
    if (size > this.#budgets.maxFileBytes) throw exceeded("file bytes", this.#budgets.maxFileBytes);
    if (this.#segments !== undefined) checkSegments(this.#segments, size, this.#remaining);
    const header = this.#extensions.merge(block, size, this.#segments !== undefined);
    this.#extensions.clear();
    checkPathBudgets(header.path, header.rawPath, this.#budgets);
    checkPathBudgets(header.linkPath, header.rawLinkPath, this.#budgets);
    this.#entryContent.begin(this.#segments);
    this.#handlers.entry(header);
    if (this.#remaining > 0) {
      this.#state = "content";
      return;
    }
    this.#handlers.endEntry();
    this.#startSkip(0, this.#padding);
  }

  #content(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#remaining);
    this.#remaining -= end - at;
    this.#entryContent.take(bytes.subarray(at, end));
    if (this.#remaining === 0) {
      this.#handlers.endEntry();
      this.#startSkip(0, this.#padding);
    }
    return end;
  }

  #startSkip(length: number, padding: number): void {
    this.#remaining = length;
    this.#padding = padding;
    this.#state = length + padding > 0 ? "skip" : "header";
  }

  #skip(bytes: Buffer, at: number): number {
    const content = Math.min(bytes.length - at, this.#remaining);
    const padding = Math.min(bytes.length - at - content, this.#padding);
    this.#startSkip(this.#remaining - content, this.#padding - padding);
    return at + content + padding;
  }
}

function paddingOf(size: number): number {
  return (BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE;
}

/** This makes a {@link TarReader}; budgets not given are the default ones. */
export function createTarReader(handlers: TarHandlers, budgets?: Partial<TarBudgets>): TarReader {
  return new TarReader(handlers, budgets);
}
