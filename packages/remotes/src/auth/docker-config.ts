import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import { failedPrecondition, invalidArgument, isNotFound, wrapError } from "@berth/errors";
import { z } from "zod";

import type { Credentials } from "../hosts/registry-host.ts";
import type { CredentialSource } from "./credential-source.ts";
import { parseUser } from "./credential-source.ts";

/** The name that Docker's own registry has in its files. */
const DOCKER_HUB_KEY = "https://index.docker.io/v1/";
const DOCKER_HUB_HOSTS: ReadonlySet<string> = new Set(["docker.io", "registry-1.docker.io", "index.docker.io"]);
const HELPER_NAME = /^[A-Za-z0-9._-]+$/;
const HELPER_TIMEOUT_MS = 30_000;
const MAX_HELPER_OUTPUT = 1024 * 1024;
/** What helpers print when they know nothing of a host. */
const UNKNOWN_HOST = /credentials not found/i;
/** The user that helpers give with a refresh token. */
const TOKEN_USER = "<token>";

const schema = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: z.string().optional(),
        username: z.string().optional(),
        password: z.string().optional(),
        identitytoken: z.string().optional(),
      }),
    )
    .default({}),
  credHelpers: z.record(z.string(), z.string()).default({}),
  credsStore: z.string().default(""),
});
type DockerConfig = z.infer<typeof schema>;

/** Runs `docker-credential-<name> get` with a host on its standard input, and returns what it printed. */
export type HelperRunner = (
  program: string,
  input: string,
  options: { readonly signal?: AbortSignal },
) => Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;

/** Where to look. */
export interface DockerConfigOptions {
  /** The file; `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json` when absent. */
  readonly path?: string;
  readonly runHelper?: HelperRunner;
}

/**
 * This makes a source of the credentials that `docker login` has left: in its `config.json`, or with a credential helper. The file is read at each question, so that
 * a login counts at once.
 */
export function dockerConfigCredentials(options: DockerConfigOptions = {}): CredentialSource {
  const path = options.path ?? join(process.env["DOCKER_CONFIG"] ?? join(homedir(), ".docker"), "config.json");
  return async (host, { signal } = {}) => {
    const config = await readConfig(path);
    if (config === undefined) return undefined;
    const helper = findByHost(config.credHelpers, host) ?? config.credsStore;
    if (helper !== "") {
      const found = await askHelper(helper, host, { run: options.runHelper ?? runHelper, ...(signal && { signal }) });
      if (found !== undefined) return found;
    }
    return toCredentials(findByHost(config.auths, host), host);
  };
}

async function readConfig(path: string): Promise<DockerConfig | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    if (isNotFound(error)) return undefined;
    if (error instanceof SyntaxError || error instanceof z.ZodError) {
      // Not the parser's message, which would quote the file: it holds secrets.
      throw invalidArgument(`${path} is not a configuration of docker`);
    }
    throw wrapError(error, "read docker's configuration");
  }
}

/** Entries are named by host, by URL, or by Docker's own name. */
function findByHost<T>(entries: Readonly<Record<string, T>>, host: string): T | undefined {
  const names = DOCKER_HUB_HOSTS.has(host) ? [DOCKER_HUB_KEY, ...DOCKER_HUB_HOSTS] : [host];
  for (const [name, value] of Object.entries(entries)) {
    const bare = name.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
    if (names.includes(name) || names.includes(bare)) return value;
  }
  return undefined;
}

function toCredentials(entry: DockerConfig["auths"][string] | undefined, host: string): Credentials | undefined {
  if (entry === undefined) return undefined;
  if (entry.identitytoken) return { username: "", secret: entry.identitytoken };
  if (entry.username) return { username: entry.username, secret: entry.password ?? "" };
  if (!entry.auth) return undefined;
  const text = Buffer.from(entry.auth, "base64").toString("utf8").replace(/\0+$/, "");
  if (!text.includes(":"))
    throw invalidArgument(`docker's configuration for ${host}: "auth" is not base64 of user:password`);
  return parseUser(text);
}

async function askHelper(
  name: string,
  host: string,
  { run, ...options }: { readonly run: HelperRunner; readonly signal?: AbortSignal },
): Promise<Credentials | undefined> {
  if (!HELPER_NAME.test(name))
    throw invalidArgument(`docker's configuration names the credential helper ${JSON.stringify(name)}`);
  const program = `docker-credential-${name}`;
  const { code, stdout, stderr } = await run(program, DOCKER_HUB_HOSTS.has(host) ? DOCKER_HUB_KEY : host, options);
  if (code !== 0) {
    if (UNKNOWN_HOST.test(stdout + stderr)) return undefined;
    throw failedPrecondition(`${program} get ended with ${code}: ${stderr.trim().slice(0, 500)}`);
  }
  const answer = z.object({ Username: z.string(), Secret: z.string() }).safeParse(parseJson(stdout));
  // What it printed may be a secret.
  if (!answer.success) throw failedPrecondition(`${program} get did not answer with a user and a secret`);
  const { Username, Secret } = answer.data;
  return { username: Username === TOKEN_USER ? "" : Username, secret: Secret };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const runHelper: HelperRunner = (program, input, { signal }) =>
  new Promise((resolve, reject) => {
    const options = { timeout: HELPER_TIMEOUT_MS, maxBuffer: MAX_HELPER_OUTPUT, ...(signal && { signal }) };
    const child = execFile(program, ["get"], options, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, stdout, stderr });
      else if (typeof error.code === "number") resolve({ code: error.code, stdout, stderr });
      else
        reject(
          signal?.aborted === true
            ? signal.reason
            : failedPrecondition(`${program} get: ${error.message}`, { cause: error }),
        );
    });
    // A helper may end without reading.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
