import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { BuiltImage, PeerDaemon, PeerRegistry, ProgramResult, TokenServer } from "@berth/testing";
import {
  buildImage,
  launcher,
  makeCertificate,
  newerTool,
  REGISTRY_USER,
  runProgram,
  seededRandom,
  startBerthd,
  startRegistry,
  startRegistryRelay,
  startTokenServer,
  temporaryDirectory,
} from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { skopeo } from "./skopeo.ts";

const USER = `${REGISTRY_USER.username}:${REGISTRY_USER.secret}`;
const WRONG = `${REGISTRY_USER.username}:guess`;
const LAYER_BYTES = 500_000;

/** Whose `ctr`, and whether it speaks to the registry itself; `id` is for names. */
const WAYS = [
  { whose: "our", where: "in the daemon", id: "a" },
  { whose: "our", where: "--local", id: "b" },
  { whose: "Go's", where: "in the daemon", id: "c" },
  { whose: "Go's", where: "--local", id: "d" },
] as const;
type Way = (typeof WAYS)[number];
const [OURS, OURS_LOCAL] = WAYS;

describe("Debian's docker-registry, through berthd", { timeout: 120_000 }, () => {
  const stack = new AsyncDisposableStack();
  /** Has the image, and pushes it. */
  let sender: PeerDaemon;
  /** Has nothing: all that it pulls comes from the registry. */
  let receiver: PeerDaemon;
  let image: BuiltImage;
  let directory: string;

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("debian-registry")).path;
    sender = stack.use(await startBerthd());
    receiver = stack.use(await startBerthd());
    const random = seededRandom(7);
    image = await buildImage({
      name: "example.org/app:1",
      layers: [1, 2, 3, 4, 5].map((index) => [
        { path: `layer-${index}`, type: "file", size: LAYER_BYTES, content: random.bytes(LAYER_BYTES) },
      ]),
    });
    const { code } = await sender.ctr(["images", "import", "--no-unpack", "-"], { input: image.archive });
    expect(code).toBe(0);
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  const run = async (
    { whose }: Way,
    daemon: PeerDaemon,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<ProgramResult> =>
    await runProgram(whose === "our" ? launcher("ctr") : newerTool("ctr"), ["--address", daemon.address, ...args], {
      // Nothing of the machine's own user is looked at.
      env: { DOCKER_CONFIG: directory, ...env },
    });
  const whereOf = ({ where }: Way): readonly string[] => (where === "--local" ? [where] : []);
  const push = (way: Way, flags: readonly string[], name: string): Promise<ProgramResult> =>
    run(way, sender, ["images", "push", ...whereOf(way), ...flags, name, image.name]);
  const pull = (way: Way, flags: readonly string[], name: string): Promise<ProgramResult> =>
    run(way, receiver, ["images", "pull", ...whereOf(way), ...flags, name]);
  const done = async (work: Promise<ProgramResult>): Promise<void> => {
    const { code, stderr } = await work;
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  };
  const refused = async (work: Promise<ProgramResult>): Promise<void> => {
    const { code, stdout, stderr } = await work;
    expect({ code, stdout }).toMatchObject({ code: 1 });
    expect(stderr).toMatch(/\S/);
    expect(stderr).not.toMatch(/secret|guess/);
  };
  /** What was pulled is whole and unpacked; then it goes. */
  const takeBack = async (name: string, daemon = receiver): Promise<void> => {
    const { stdout } = await run(OURS, daemon, ["images", "check", `name==${name}`]);
    expect(stdout).toMatch(new RegExp(`^${name} .* ${image.manifest.digest} complete \\(6/6\\) .* true`, "m"));
    await done(run(OURS, daemon, ["images", "rm", "--sync", name]));
    expect(await run(OURS, daemon, ["content", "ls", "-q"])).toMatchObject({ stdout: "" });
  };
  const hostsToml = async (host: string, text: string): Promise<readonly string[]> => {
    const hosts = join(directory, "hosts");
    await mkdir(join(hosts, host), { recursive: true });
    await writeFile(join(hosts, host, "hosts.toml"), text);
    return ["--hosts-dir", hosts];
  };
  const asUser = ["--plain-http", "--user", USER];

  describe.each(["htpasswd", "a token server"])("with %s", (kind) => {
    let registry: PeerRegistry;
    let tokens: TokenServer;

    beforeAll(async () => {
      tokens = stack.use(await startTokenServer());
      registry = stack.use(await startRegistry({ auth: kind === "htpasswd" ? "basic" : tokens }));
    });

    it.each(WAYS)("the user pushes and pulls, and nobody else, by $whose ctr $where", async (way) => {
      const name = `${registry.host}/team/${way.id}:1`;
      for (const flags of [[], ["--user", WRONG]]) await refused(push(way, ["--plain-http", ...flags], name));
      await done(push(way, asUser, name));
      for (const flags of [[], ["--user", WRONG]]) await refused(pull(way, ["--plain-http", ...flags], name));
      await done(pull(way, asUser, name));
      await takeBack(name);
      const copy = `${registry.host}/copies/${way.id}:1`;
      const insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
      const creds = ["--src-creds", USER, "--dest-creds", USER];
      await skopeo("copy", ...insecure, ...creds, `docker://${name}`, `docker://${copy}`);
      await done(pull(way, asUser, copy));
      await takeBack(copy);
    });

    it("our ctr finds the user in docker's configuration, and in the file that hosts.toml names", async () => {
      const name = `${registry.host}/team/found:1`;
      const auth = Buffer.from(USER).toString("base64");
      const env = { DOCKER_CONFIG: join(directory, "docker") };
      await mkdir(env.DOCKER_CONFIG, { recursive: true });
      await writeFile(join(env.DOCKER_CONFIG, "config.json"), JSON.stringify({ auths: { [registry.host]: { auth } } }));
      const file = join(directory, "credentials");
      await writeFile(file, `${USER}\n`, { mode: 0o600 });
      const hosts = await hostsToml("kept.test", `server = "http://${registry.host}"\ncredentials_file = "${file}"\n`);
      await done(run(OURS, sender, ["images", "push", name, image.name], env));
      for (const way of [OURS, OURS_LOCAL]) {
        await done(run(way, receiver, ["images", "pull", ...whereOf(way), name], env));
        await takeBack(name);
        await done(pull(way, hosts, "kept.test/team/found:1"));
        await takeBack("kept.test/team/found:1");
      }
    });
  });

  describe("with a token server", () => {
    it.each(WAYS)("nobody in particular pulls what is public, by $whose ctr $where", async (way) => {
      await using tokens = await startTokenServer();
      await using registry = await startRegistry({ auth: tokens });
      const name = `${registry.host}/public/app:1`;
      await refused(push(way, ["--plain-http"], name));
      await done(push(way, asUser, name));
      tokens.asked.length = 0;
      await done(pull(way, ["--plain-http"], name));
      await takeBack(name);
      expect([...new Set(tokens.asked.map(({ grant, status }) => `${grant} ${status}`))]).toEqual(["anonymous 200"]);
      expect(tokens.asked.flatMap(({ scopes }) => scopes)).toContain("repository:public/app:pull");
    });

    it("that knows no POST is asked by GET, and shown a refresh token where there is one", async () => {
      await using tokens = await startTokenServer();
      await using registry = await startRegistry({ auth: tokens });
      const name = `${registry.host}/team/app:1`;
      const grants = (): ReadonlySet<string> => new Set(tokens.asked.splice(0).map(({ grant }) => grant));
      tokens.knowsPost = false;
      await done(push(OURS, asUser, name));
      expect(grants()).toEqual(new Set(["password", "basic"]));
      tokens.knowsPost = true;
      for (const way of [OURS, OURS_LOCAL]) {
        await done(pull(way, ["--refresh", tokens.refreshToken], name));
        expect(grants()).toEqual(new Set(["refresh_token"]));
        await takeBack(name);
        await refused(pull(way, ["--refresh", "secret"], name));
        tokens.asked.length = 0;
      }
    });

    // What is no longer good is refused in the middle, whether the client could have known or not.
    it.each([1, 600])("whose tokens end during a pull, and are said to last %i s, is asked again", async (told) => {
      await using tokens = await startTokenServer();
      await using registry = await startRegistry({ auth: tokens });
      // Five seconds for all layers: more than the two that a token may count.
      await using relay = await startRegistryRelay(registry.host, LAYER_BYTES);
      await done(push(OURS, asUser, `${registry.host}/team/slow:1`));
      Object.assign(tokens, { lifetimeS: 1, toldLifetimeS: told });
      tokens.asked.length = 0;
      const name = `${relay.host}/team/slow:1`;
      await done(pull(OURS, ["--user", USER], name));
      expect(tokens.asked.length).toBeGreaterThan(1);
      await takeBack(name);
    });
  });

  it.each(WAYS)("one that mirrors another is asked instead of it, by $whose ctr $where", async (way) => {
    await using origin = await startRegistry();
    await using mirror = await startRegistry({ mirrorOf: `http://${origin.host}` });
    await done(push(OURS, [], `${origin.host}/team/app:1`));
    const host = `mirrored-${way.id}.test`;
    const hosts = await hostsToml(
      host,
      `server = "http://${origin.host}"\n[host."http://${mirror.host}"]\n  capabilities = ["pull", "resolve"]\n`,
    );
    const name = `${host}/team/app:1`;
    await done(pull(way, hosts, name));
    await takeBack(name);
    const blobs = join(mirror.directory, "data/docker/registry/v2/blobs/sha256");
    const kept = async (): Promise<readonly string[]> =>
      (await readdir(blobs, { recursive: true }).catch(() => []))
        .filter((path) => path.endsWith("/data"))
        .map((path) => `sha256:${path.split("/").at(-2)}`)
        .toSorted();
    await expect.poll(kept, { timeout: 10_000 }).toEqual([...image.blobs.keys()].toSorted());
    // What it has it gives also when there is no origin any more.
    await origin[Symbol.asyncDispose]();
    await done(pull(way, hosts, name));
    await takeBack(name);
  });

  it.each(WAYS)("one whose mirror has gone is asked itself, by $whose ctr $where", async (way) => {
    await using origin = await startRegistry();
    await using mirror = await startRegistry({ mirrorOf: `http://${origin.host}` });
    await done(push(OURS, [], `${origin.host}/team/app:1`));
    await mirror[Symbol.asyncDispose]();
    const host = `unmirrored-${way.id}.test`;
    const server = `server = "http://${origin.host}"\n[host."http://${mirror.host}"]\n`;
    await done(pull(way, await hostsToml(host, server), `${host}/team/app:1`));
    await takeBack(`${host}/team/app:1`);
  });

  it("one whose authority is in NODE_EXTRA_CA_CERTS is recognised by the daemon and by our ctr", async () => {
    const files = await makeCertificate(directory);
    await using registry = await startRegistry({ tls: files });
    const [known, unknown] = [files.certificate, ""].map((path) => ({ NODE_EXTRA_CA_CERTS: path }));
    await using trusting = await startBerthd({ env: { ...known } });
    // A host of this machine would be believed without.
    const hosts = await hostsToml("company.test", `server = "https://${registry.host}"\n`);
    const name = "company.test/team/app:1";
    const local = (verb: "push" | "pull", more: readonly string[], env = known): Promise<ProgramResult> =>
      run(OURS, verb === "push" ? sender : receiver, ["images", verb, "--local", ...hosts, name, ...more], env);
    await refused(local("push", [image.name], unknown));
    await refused(push(OURS, hosts, name));
    await done(local("push", [image.name]));
    await done(local("pull", []));
    await takeBack(name);
    await done(run(OURS, trusting, ["images", "pull", ...hosts, name]));
    await takeBack(name, trusting);
  });

  it.each(WAYS)("one that asks for certificates is shown that of hosts.toml, by $whose ctr $where", async (way) => {
    const files = await makeCertificate(directory);
    const { certificate, key } = files;
    await using registry = await startRegistry({ tls: { ...files, clients: certificate } });
    const trusted = `server = "https://${registry.host}"\nca = "${certificate}"\n`;
    const name = "shown.test/team/app:1";
    await refused(push(way, await hostsToml("shown.test", trusted), name));
    const hosts = await hostsToml("shown.test", `${trusted}client = [["${certificate}", "${key}"]]\n`);
    await done(push(way, hosts, name));
    await done(pull(way, hosts, name));
    await takeBack(name);
    // A directory in docker's layout is enough, too.
    const docker = join(directory, "docker-certs", registry.host);
    await mkdir(docker, { recursive: true });
    await copyFile(certificate, join(docker, "ca.crt"));
    await copyFile(certificate, join(docker, "client.cert"));
    await copyFile(key, join(docker, "client.key"));
    await done(pull(way, ["--hosts-dir", join(docker, "..")], `${registry.host}/team/app:1`));
    await takeBack(`${registry.host}/team/app:1`);
  });
});
