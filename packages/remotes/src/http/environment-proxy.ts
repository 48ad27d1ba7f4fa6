import { BlockList, isIP } from "node:net";
import { domainToASCII } from "node:url";

import { failedPrecondition } from "@berth/errors";

const PORTS: ReadonlyMap<string, string> = new Map([
  ["http:", "80"],
  ["https:", "443"],
]);

/** This says whether a host, in lower case and without brackets, and its port are meant. */
type Exception = (host: string, port: string) => boolean;

/**
 * This reads which proxies the environment names, as programs in Go do, and returns what finds the one for a URL; `undefined` where it is to be asked directly, as this machine always is.
 *
 * `HTTPS_PROXY` is for https alone, and `HTTP_PROXY` for http. Of a name, the upper case counts before the lower. `NO_PROXY` has domains (with all below them; with a dot or `*.` before
 * them, only those), addresses, either with a port, networks (`10.0.0.0/8`), or `*` for everything; what is none of that means nothing.
 *
 * @throws failed_precondition - of the result: `HTTP_PROXY` in a CGI program, where a header of a request sets it
 * @see golang.org/x/net/http/httpproxy, FromEnvironment and ProxyFunc
 */
export function readEnvironmentProxies(environment: NodeJS.ProcessEnv): (url: URL) => string | undefined {
  const read = (name: string): string => environment[name] || environment[name.toLowerCase()] || "";
  const [http, https] = [read("HTTP_PROXY"), read("HTTPS_PROXY")];
  const isCgi = (environment["REQUEST_METHOD"] ?? "") !== "";
  const exceptions = parseExceptions(read("NO_PROXY"));
  return ({ protocol, hostname, port }) => {
    const proxy = protocol === "https:" ? https : http;
    if (proxy === "") return undefined;
    if (isCgi && protocol === "http:")
      throw failedPrecondition("HTTP_PROXY is not used where REQUEST_METHOD is set: a request may have set it");
    const host = hostname.replaceAll(/^\[|\]$/g, "");
    const isExcepted = exceptions.some((matches) => matches(host, port || (PORTS.get(protocol) ?? "")));
    return isExcepted ? undefined : withScheme(proxy);
  };
}

function withScheme(proxy: string): string {
  return proxy.includes("://") ? proxy : `http://${proxy}`;
}

function parseExceptions(text: string): readonly Exception[] {
  const entries = text.split(",").map((entry) => entry.trim().toLowerCase());
  if (entries.includes("*")) return [() => true];
  return [isThisMachine, ...entries.flatMap((entry) => parseException(entry) ?? [])];
}

const isLoopback = networkMatcher("127.0.0.0", 8);
const isLoopback6 = networkMatcher("::1", 128);

function isThisMachine(host: string): boolean {
  return host === "localhost" || isLoopback(host) || isLoopback6(host);
}

function parseException(entry: string): Exception | undefined {
  const [, network = "", prefix = ""] = /^([^/]+)\/(\d{1,3})$/.exec(entry) ?? [];
  if (isAddress(network) && Number(prefix) <= lengthOf(network)) return networkMatcher(network, Number(prefix));
  const [, bracketed, name = bracketed ?? entry, port = ""] =
    /^(?:\[([^[\]]*)\]|([^:[\]]*)):([^:[\]]*)$/.exec(entry) ?? [];
  if (name === "" || name === ".") return undefined;
  const matches = isAddress(name) ? networkMatcher(name, lengthOf(name)) : domainMatcher(name);
  return (host, asked) => (port === "" || port === asked) && matches(host);
}

/** One with a zone is of no use elsewhere, and no address to Go. */
function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes("%");
}

function lengthOf(address: string): number {
  return isIP(address) === 4 ? 32 : 128;
}

function networkMatcher(address: string, prefix: number): (host: string) => boolean {
  const family = isIP(address);
  const list = new BlockList();
  list.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  return (host) => {
    // An address of version 4 may be written as one of version 6, but is in no network of those.
    if (isIP(host) === 4) return family === 4 && list.check(host);
    return isIP(host) === 6 && list.check(host, "ipv6");
  };
}

function domainMatcher(name: string): (host: string) => boolean {
  const domain = name.replace(/^\*?\./, "");
  const isWhole = domain === name;
  // Hosts of URLs are such; what is ASCII already stays as it is.
  const ascii = /^[\u0020-\u007e]*$/.test(domain) ? domain : domainToASCII(domain) || domain;
  return (host) => isIP(host) === 0 && (host.endsWith(`.${ascii}`) || (isWhole && host === ascii));
}
