import { readFile } from "node:fs/promises";

import { invalidArgument, wrapError } from "@berth/errors";
import type { CredentialSource, RegistryClient, TlsSettings } from "@berth/remotes";

import type { Flag, FlagValues } from "./flags.ts";
import { booleanFlag, stringFlag, unsupportedFlag } from "./flags.ts";

/** How commands reach a registry. */
export const REGISTRY_FLAGS = {
  "skip-verify": booleanFlag("accept any certificate of the registry", { aliases: ["k"] }),
  "plain-http": booleanFlag("speak to the registry without TLS"),
  user: stringFlag("user and password, name:password; else those that docker login has left", { aliases: ["u"] }),
  refresh: stringFlag("refresh token for the registry's token server"),
  "hosts-dir": stringFlag("directory with a directory for each registry, with hosts.toml or certificates"),
  tlscacert: stringFlag("file with the authority of the registry's certificate, PEM"),
  tlscert: stringFlag("file with a certificate of your own for the registry, PEM"),
  tlskey: stringFlag("file with the key of --tlscert, PEM"),
  "http-dump": unsupportedFlag("requests hold secrets, and are not printed", "boolean"),
  "http-trace": unsupportedFlag("requests hold secrets, and are not printed", "boolean"),
};

/** The same, for commands of containerd's ctr that take them and never speak to a registry. */
export const NO_REGISTRY_FLAGS = Object.fromEntries(
  Object.entries(REGISTRY_FLAGS).map(([name, { kind, aliases }]) => [
    name,
    unsupportedFlag("no registry is asked: pull the image first", kind, aliases),
  ]),
  // One for each of the others.
) as { readonly [N in keyof typeof REGISTRY_FLAGS]: Flag<never> };

export type RegistryFlags = FlagValues<typeof REGISTRY_FLAGS>;

/** This makes the client that the flags describe; the caller disposes it. @throws invalid_argument; not_found - a file of certificates */
export async function openRegistry(flags: RegistryFlags): Promise<RegistryClient> {
  const { RegistryClient: Registry } = await import("@berth/remotes");
  const credentials = await credentialsOf(flags);
  const tls = await tlsOf(flags);
  return new Registry({
    credentials,
    plainHttp: flags["plain-http"],
    hostDirectories: flags["hosts-dir"] === "" ? [] : flags["hosts-dir"].split(":"),
    ...(tls && { tls }),
  });
}

/** This returns who the flags say one is, else what `docker login` has left. @throws invalid_argument */
export async function credentialsOf(flags: Pick<RegistryFlags, "user" | "refresh">): Promise<CredentialSource> {
  const { dockerConfigCredentials, parseUser } = await import("@berth/remotes");
  if (flags.user !== "" && flags.refresh !== "") throw invalidArgument("--user and --refresh exclude each other");
  const given = flags.refresh !== "" ? { username: "", secret: flags.refresh } : parseUser(flags.user);
  return given.secret !== "" || given.username !== "" ? async () => given : dockerConfigCredentials();
}

/** Whether the flags say what only this program can do: certificates are not sent to the daemon. */
export function needsOwnConnection(flags: RegistryFlags): boolean {
  const { tlscacert, tlscert, tlskey } = flags;
  return (
    flags["skip-verify"] || [tlscacert, tlscert, tlskey].some((path) => path !== "") || flags["hosts-dir"].includes(":")
  );
}

async function tlsOf(flags: RegistryFlags): Promise<TlsSettings | undefined> {
  const { tlscacert, tlscert, tlskey } = flags;
  if ((tlscert === "") !== (tlskey === "")) throw invalidArgument("--tlscert and --tlskey belong together");
  if (tlscacert === "" && tlscert === "" && !flags["skip-verify"]) return undefined;
  return {
    authorities: tlscacert === "" ? [] : [await readPem(tlscacert)],
    clientCertificates: tlscert === "" ? [] : [{ certificate: await readPem(tlscert), key: await readPem(tlskey) }],
    skipVerify: flags["skip-verify"],
  };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw wrapError(error, "read a certificate");
  }
}
