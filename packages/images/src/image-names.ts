import { invalidArgument } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { isDigest } from "@berth/oci";

const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DOMAIN =
  /^(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$/;

/**
 * This spells a Docker reference in full: `busybox` is `docker.io/library/busybox:latest`. Where tag and digest are given,
 * the tag is dropped.
 *
 * @throws invalid_argument
 * @see github.com/distribution/reference, ParseDockerRef
 */
export function normalizeDockerReference(text: string): string {
  const invalid = (): Error => invalidArgument(`invalid image name ${JSON.stringify(text)}`);
  if (/^[a-f0-9]{64}$/.test(text)) throw invalid();
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) throw invalid();
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const tag = tagged ? named.slice(colon + 1) : "latest";
  if (!TAG.test(tag)) throw invalid();
  const { domain, path } = splitDomain(tagged ? named.slice(0, colon) : named);
  if (!DOMAIN.test(domain) || !path.split("/").every((part) => COMPONENT.test(part))) throw invalid();
  const name = `${domain}/${path}`;
  if (name.length > 255 + domain.length) throw invalid();
  return digest === undefined ? `${name}:${tag}` : `${name}@${digest}`;
}

function splitDomain(name: string): { readonly domain: string; readonly path: string } {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  // Without a dot, a port or a capital letter the first part is a user of Docker's registry, not a host.
  const isHost = slash > 0 && (/[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first);
  const domain = isHost && first !== "index.docker.io" ? first : "docker.io";
  const path = isHost ? name.slice(slash + 1) : name;
  return { domain, path: domain === "docker.io" && !path.includes("/") ? `library/${path}` : path };
}

/**
 * This makes an image name of the reference name in an archive, which may be a bare tag: that is put behind `prefix`. With
 * `onlyPrefix`, full names that do not begin with the prefix are left out (`undefined`).
 */
export function translateReference(
  name: string,
  { prefix, onlyPrefix }: { readonly prefix: string; readonly onlyPrefix: boolean },
): string | undefined {
  if (!/[/:@]/.test(name)) return `${prefix}:${name}`;
  return onlyPrefix && !hasPrefix(name, prefix) ? undefined : name;
}

function hasPrefix(name: string, prefix: string): boolean {
  return name.startsWith(prefix) && (name.length === prefix.length || "/:@".includes(name.charAt(prefix.length)));
}

/** This names a manifest by its digest. */
export function digestName(prefix: string, digest: Digest): string {
  return `${prefix}@${digest}`;
}
