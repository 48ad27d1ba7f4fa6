import { isUtf8 } from "node:buffer";

/**
 * Names inside this package are strings. A name whose bytes are not UTF-8 has each byte from 0x80 up as the lone surrogate
 * U+DC00 + byte, which no decoded text can hold; {@link toNative} gives the bytes back.
 */
export function fromBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return buffer.toString();
  return buffer.toString("latin1").split("/").map(fromComponent).join("/");
}

/** By component, so that a directory has one spelling whatever is below it. */
function fromComponent(latin1: string): string {
  const bytes = Buffer.from(latin1, "latin1");
  if (isUtf8(bytes)) return bytes.toString();
  return latin1.replace(/[\u0080-\u00ff]/g, (byte) => String.fromCharCode(0xdc00 + byte.charCodeAt(0)));
}

/** This gives a name as system calls take it: text where it is text, else the bytes. */
export function toNative(name: string): string | Buffer {
  if (name.isWellFormed()) return name;
  const parts: Buffer[] = [];
  for (const character of name) {
    const code = character.codePointAt(0) ?? 0;
    parts.push(code >= 0xdc80 && code <= 0xdcff ? Buffer.from([code - 0xdc00]) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

/** This makes a name fit for messages. */
export function printable(name: string): string {
  return JSON.stringify(name.toWellFormed());
}

/**
 * This takes `.`, `..`, empty components and the leading slash out of a path, without looking at any file system; `..`
 * stops at the root, which is the empty path.
 */
export function cleanPath(path: string): string {
  const components: string[] = [];
  for (const component of path.split("/")) {
    if (component === "..") components.pop();
    else if (component !== "" && component !== ".") components.push(component);
  }
  return components.join("/");
}

/** This splits a clean path into its directory (empty for the root) and its last component. */
export function splitPath(path: string): { readonly directory: string; readonly base: string } {
  const slash = path.lastIndexOf("/");
  return { directory: slash < 0 ? "" : path.slice(0, slash), base: path.slice(slash + 1) };
}
