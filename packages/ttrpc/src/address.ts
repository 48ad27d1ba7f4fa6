import { invalidArgument } from "@berth/errors";

const ABSTRACT = "\0";

/**
 * This returns the path for `net.connect` of a ttrpc address: `unix:///path`, `unix://relative`, a plain path, or an
 * abstract name, written with a leading NUL or `@`.
 * @throws invalid_argument - it is empty, or names a transport other than unix sockets
 */
export function parseTtrpcAddress(address: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(address)?.[1];
  if (scheme !== undefined && scheme !== "unix") {
    throw invalidArgument(`ttrpc address ${JSON.stringify(address)} is no unix socket`);
  }
  const path = scheme === undefined ? address : address.slice("unix://".length);
  if (path === "" || path === ABSTRACT || path === "@") {
    throw invalidArgument(`ttrpc address ${JSON.stringify(address)} names no socket`);
  }
  if (path.slice(1).includes(ABSTRACT)) throw invalidArgument(`ttrpc address ${JSON.stringify(address)} contains NUL`);
  return path.startsWith("@") ? ABSTRACT + path.slice(1) : path;
}
