import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { digestHex, MediaType } from "@berth/oci";
import type { FaultRegistry, RegistryFault, RegistryRequestRecord } from "@berth/testing";
import { sha256, startFaultRegistry, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { RegistryClient } from "../src/index.ts";

const DIGEST = sha256(new TextEncoder().encode("subject"));
const PATH = `/v2/x/referrers/${DIGEST}`;
const TAG = `sha256-${digestHex(DIGEST)}`;

const referrer = (text: string, artifactType = "a/b"): Descriptor => ({
  mediaType: MediaType.ociManifest,
  digest: sha256(new TextEncoder().encode(text)),
  size: text.length,
  artifactType,
});
const indexOf = (...manifests: readonly Descriptor[]): string =>
  JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests });
const ok = (body: string, headers: Readonly<Record<string, string>> = {}): RegistryFault => ({
  kind: "status",
  status: 200,
  headers: { "content-type": MediaType.ociIndex, ...headers },
  body,
});

describe("RegistryClient listing referrers", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
  });

  afterEach(() => stack.disposeAsync());

  /** What a registry with the API answers it with. */
  const answerWith = (answer: (request: RegistryRequestRecord) => RegistryFault): void => {
    registry.fault = (request) => (request.path === PATH ? answer(request) : undefined);
  };
  const list = async (artifactType?: string, client = stack.use(new RegistryClient())): Promise<unknown> =>
    await client
      .referrers(`${registry.host}/x:1`, DIGEST, artifactType === undefined ? {} : { artifactType })
      .catch((error: unknown) => codeName(codeOf(error)));
  const [one, two, three] = ["one", "two", "three"].map((text) => referrer(text));

  it("asks for a kind of them, and believes no registry that it gives only those", async () => {
    const other = referrer("other", "c/d");
    answerWith(() => ok(indexOf(referrer("one"), other)));
    expect(await list("a/b")).toEqual([one]);
    expect(registry.requests.map(({ query }) => query.get("artifactType"))).toEqual(["a/b"]);
    expect(await list()).toEqual([one, other]);
  });

  it.each([
    ["relative", (page: string) => `<${PATH}?page=${page}>; rel="next"`],
    ["whole", (page: string) => `<http://${registry.host}${PATH}?page=${page}>; rel=next`],
    ["among others", (page: string) => `<?page=0>; rel="first", <?page=${page}>; title="a, b"; rel="last NEXT", <?x>`],
  ])("follows links to further pages, %s", async (_case, link) => {
    answerWith(({ query }) => {
      const page = query.get("page");
      if (page === null) return ok(indexOf(referrer("one")), { link: link("2") });
      return page === "2" ? ok(indexOf(referrer("two")), { link: link("3") }) : ok(indexOf(referrer("three")));
    });
    expect(await list()).toEqual([one, two, three]);
    expect(registry.requests).toHaveLength(3);
  });

  it.each(["<?page=2>", '<?page=2>; rel="previous"', '<?page=2>; rel="nextish"', "<ftp://x/>; rel=next", "<", "next"])(
    "takes %j for no link to another page",
    async (link) => {
      answerWith(() => ok(indexOf(referrer("one")), { link }));
      expect(await list()).toEqual([one]);
      expect(registry.requests).toHaveLength(1);
    },
  );

  it.each<readonly [string, RegistryFault, string]>([
    ["a page", ok("<html>welcome</html>"), "failed_precondition"],
    ["half of it", ok(indexOf(referrer("one")).slice(0, 50)), "failed_precondition"],
    ["more behind it", ok(`${indexOf()}x`), "failed_precondition"],
    ["what describes nothing", ok('{"manifests":[{"digest":"x"}]}'), "failed_precondition"],
    ["more than there may be", ok(indexOf().padEnd(5_000_000)), "resource_exhausted"],
    ["always the same page", ok(indexOf(), { link: `<${PATH}>; rel="next"` }), "resource_exhausted"],
    ["that it forbids it", { kind: "status", status: 403 }, "permission_denied"],
  ])("fails where the registry gives %s", async (_case, fault, code) => {
    answerWith(() => fault);
    expect(await list()).toBe(code);
  });

  it("reads no more of all pages together than of one", async () => {
    answerWith(() => ok(indexOf().padEnd(1_500_000), { link: `<${PATH}>; rel="next"` }));
    expect(await list()).toBe("resource_exhausted");
    expect(registry.requests).toHaveLength(3);
  });

  it.each<readonly [string, string, readonly string[]]>([
    ["none that knows the API", '["pull", "resolve"]', [`/v2/x/manifests/${TAG}`]],
    ["one that knows it", '["pull", "referrers"]', [PATH, `/v2/x/manifests/${TAG}`]],
  ])("asks of the hosts, where there is %s", async (_case, capabilities, expected) => {
    const directory = stack.use(await temporaryDirectory("hosts")).path;
    await mkdir(join(directory, registry.host));
    const toml = `server = "http://${registry.host}"\ncapabilities = ${capabilities}\n`;
    await writeFile(join(directory, registry.host, "hosts.toml"), toml);
    registry.tag(TAG, registry.add(new TextEncoder().encode(indexOf(referrer("one"))), MediaType.ociIndex));
    const client = stack.use(new RegistryClient({ hostDirectories: [directory] }));
    expect(await list(undefined, client)).toEqual([one]);
    expect(registry.requests.map(({ path }) => path)).toEqual(expected);
  });
});
