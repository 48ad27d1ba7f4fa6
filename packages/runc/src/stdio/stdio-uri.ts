import { isAbsolute } from "node:path";

import { invalidArgument } from "@berth/errors";

/** Where a standard stream leads. */
export type StdioTarget =
  | { readonly kind: "none" }
  | { readonly kind: "fifo"; readonly path: string }
  | { readonly kind: "file"; readonly path: string }
  /** A stream that a client opens at the shim's Streaming service. */
  | { readonly kind: "stream"; readonly id: string }
  | {
      readonly kind: "binary";
      readonly path: string;
      /** Arguments of the logger: each parameter of the URL as name and value. */
      readonly args: readonly string[];
      /** The logger says that it is ready by a byte; version 1 by closing. */
      readonly version: 1 | 2;
    };

/**
 * This reads where a stream leads: empty for nowhere, a FIFO's path, `fifo://`, `file://`, `binary://`, `binary-v2://`, or
 * `ttrpc+unix://…?streaming_id=…`, whose address is for the client: that of the shim.
 * @throws invalid_argument - another scheme, a path that is not absolute, or no id of a stream
 */
export function parseStdioTarget(text: string): StdioTarget {
  if (text === "") return { kind: "none" };
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/isu.exec(text);
  if (!match) return { kind: "fifo", path: absolute(text, text) };
  const [, scheme = "", rest = ""] = match;
  const [path = "", query = ""] = split(rest);
  switch (scheme) {
    case "fifo":
      return { kind: "fifo", path: absolute(decode(path, text), text) };
    case "file":
      return { kind: "file", path: absolute(decode(path, text), text) };
    case "binary":
    case "binary-v2": {
      const args = [...new URLSearchParams(query)].flat();
      return { kind: "binary", path: absolute(decode(path, text), text), args, version: scheme === "binary" ? 1 : 2 };
    }
    case "ttrpc+unix": {
      const id = new URLSearchParams(query).get("streaming_id") ?? "";
      if (id === "") throw invalidArgument(`stdio ${JSON.stringify(text)}: no streaming_id`);
      return { kind: "stream", id };
    }
    default:
      throw invalidArgument(`unknown STDIO scheme ${JSON.stringify(scheme)} in ${JSON.stringify(text)}`);
  }
}

function split(rest: string): readonly [path: string, query: string] {
  const at = rest.indexOf("?");
  return at < 0 ? [rest, ""] : [rest.slice(0, at), rest.slice(at + 1)];
}

function decode(path: string, text: string): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    throw invalidArgument(`stdio ${JSON.stringify(text)}: malformed escape`, { cause: error });
  }
}

function absolute(path: string, text: string): string {
  if (!isAbsolute(path) || path.includes("\0"))
    throw invalidArgument(`stdio ${JSON.stringify(text)}: not an absolute path`);
  return path;
}
