import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { deadlineExceeded, failedPrecondition } from "@berth/errors";

import { temporaryDirectory } from "../temporary-directory.ts";
import { debianTool } from "./debian-tools.ts";
import type { TokenServer } from "./token-server.ts";

const READY_DEADLINE_MS = 20_000;

/** Debian's `docker-registry` on a port of this machine. Disposing it ends it and removes what it has stored. */
export interface PeerRegistry extends AsyncDisposable {
  /** `127.0.0.1:<port>`, as it stands in references. */
  readonly host: string;
  /** Where it keeps its files. */
  readonly directory: string;
  log(): Promise<string>;
}

/** The one user whom a registry or a token server of ours knows. */
export const REGISTRY_USER = { username: "alice", secret: "secret" } as const;

/** As `htpasswd -B` writes it. */
const HTPASSWD = `${REGISTRY_USER.username}:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n`;

/** How the registry is to be. */
export interface RegistryOptions {
  /** Paths: then it speaks TLS, with `clients` only to who shows a certificate of one of these authorities. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly clients?: string };
  /** Only {@link REGISTRY_USER} may do anything: by Basic authentication, or with tokens of a server. */
  readonly auth?: "basic" | TokenServer;
  /** It mirrors this registry, by URL. */
  readonly mirrorOf?: string;
}

/** This starts a registry. @throws deadline_exceeded - it does not answer in 20 s; failed_precondition - it ended at once */
export async function startRegistry(options: RegistryOptions = {}): Promise<PeerRegistry> {
  await using undo = new AsyncDisposableStack();
  const directory = undo.use(await temporaryDirectory("registry")).path;
  const port = await freePort();
  const config = join(directory, "config.json");
  // YAML is a superset of JSON.
  await writeFile(config, JSON.stringify(configOf(options, { directory, port })));
  await writeFile(join(directory, "htpasswd"), HTPASSWD);
  const logFile = join(directory, "log");
  const log = openSync(logFile, "a");
  const child = spawn(debianTool("docker-registry"), ["serve", config], { stdio: ["ignore", log, log] });
  const ended = once(child, "exit");
  undo.defer(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  await untilReady(port, () => child.exitCode, logFile);
  const owned = undo.move();
  return {
    host: `127.0.0.1:${port}`,
    directory,
    log: () => readFile(logFile, "utf8"),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function configOf(
  options: RegistryOptions,
  { directory, port }: { readonly directory: string; readonly port: number },
): unknown {
  const { tls, auth, mirrorOf } = options;
  return {
    version: "0.1",
    log: { level: "info" },
    storage: { filesystem: { rootdirectory: join(directory, "data") }, delete: { enabled: true } },
    http: {
      addr: `127.0.0.1:${port}`,
      secret: "test",
      ...(tls && {
        tls: { certificate: tls.certificate, key: tls.key, ...(tls.clients && { clientcas: [tls.clients] }) },
      }),
    },
    ...(auth === "basic" && { auth: { htpasswd: { realm: "test", path: join(directory, "htpasswd") } } }),
    ...(typeof auth === "object" && {
      auth: {
        token: {
          realm: auth.realm,
          service: auth.service,
          issuer: auth.issuer,
          rootcertbundle: auth.certificates,
        },
      },
    }),
    ...(mirrorOf !== undefined && { proxy: { remoteurl: mirrorOf } }),
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw failedPrecondition("no free port");
  return address.port;
}

async function untilReady(port: number, exitCode: () => number | null, logFile: string): Promise<void> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (Date.now() < deadline) {
    if (exitCode() !== null) throw failedPrecondition(`docker-registry ended: ${await readFile(logFile, "utf8")}`);
    // Any answer will do, a refusal or one that is no HTTP without TLS too.
    const answered = await fetch(`http://127.0.0.1:${port}/v2/`).then(
      () => true,
      () => false,
    );
    if (answered) return;
    await sleep(50);
  }
  throw deadlineExceeded(`docker-registry did not answer: ${await readFile(logFile, "utf8")}`);
}
