import { writeBlob } from "@berth/core/content";
import { sourceLabel } from "@berth/core/distribution-source";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import type { FaultRegistry, RegistryFault } from "@berth/testing";
import { MemoryContentStore, sha256, startFaultRegistry } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { RegistryClient } from "../src/index.ts";

const BLOB = new Uint8Array(100_000).map((_, index) => index % 251);
const OWN = "repository:x:pull,push";
const OTHER = "repository:private/base:pull";

describe("RegistryClient pushing a blob of which another repository is said to have it", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let client: RegistryClient;
  let store: MemoryContentStore;
  let blob: Descriptor;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    client = stack.use(new RegistryClient());
    store = new MemoryContentStore();
    const annotations = { [sourceLabel(registry.host)]: "private/base" };
    blob = { mediaType: "x/y", digest: sha256(BLOB), size: BLOB.length, annotations };
    await writeBlob(store, "x", [BLOB], blob);
  });

  afterEach(() => stack.disposeAsync());

  const push = (): Promise<boolean | string> =>
    client.push(`${registry.host}/x:1`, blob, store).catch((error: unknown) => codeName(codeOf(error)));
  const asked = (): string[] =>
    registry.requests.map(({ method, query }) => `${method}${query.has("mount") ? " mount" : ""}`);

  it.each<readonly [string, RegistryFault]>([
    ["wants a password", { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }],
    ["wants what nobody knows", { kind: "status", status: 401, headers: { "www-authenticate": "Wax seal" } }],
    ["forbids it", { kind: "status", status: 403 }],
    ["says that there is no such repository", { kind: "status", status: 404 }],
  ])("sends it where the registry %s", async (_case, fault) => {
    registry.fault = ({ query }) => (query.has("mount") ? fault : undefined);
    expect(await push()).toBe(true);
    expect(registry.find(blob.digest)).toHaveLength(BLOB.length);
    expect(asked()).toEqual(["HEAD", "POST mount", "POST", "PUT"]);
  });

  it("fails with what the registry says of the blob itself", async () => {
    registry.fault = ({ method, query }) =>
      method === "HEAD" ? undefined : { kind: "status", status: query.has("mount") ? 403 : 400 };
    expect(await push()).toBe("invalid_argument");
  });

  describe("and a token server", () => {
    let tokens: FaultRegistry;

    beforeEach(async () => {
      tokens = stack.use(await startFaultRegistry());
      // The token tells what it is for.
      tokens.fault = ({ query }) => ({
        kind: "status",
        status: 200,
        body: JSON.stringify({ token: query.getAll("scope").includes(OTHER) ? "both" : "own" }),
      });
      const realm = `Bearer realm="http://${tokens.host}/token"`;
      registry.fault = ({ headers, query }) => {
        const hasToken = headers.authorization !== undefined;
        if (hasToken && !query.has("mount")) return undefined;
        const challenge = hasToken ? `${realm},error="insufficient_scope"` : realm;
        return { kind: "status", status: 401, headers: { "www-authenticate": challenge } };
      };
    });

    const scopes = (): string[][] => tokens.requests.map(({ query }) => query.getAll("scope"));
    const authorizations = () =>
      registry.requests.map(({ method, headers }) => `${method} ${headers.authorization ?? "-"}`);

    it("sends it where the token does not go that far, and asks for the other repository only to mount", async () => {
      expect(await push()).toBe(true);
      expect(registry.find(blob.digest)).toHaveLength(BLOB.length);
      // A token that is refused is asked for once more.
      expect(new Set(scopes().map((each) => each.join(" ")))).toEqual(new Set([OWN, `${OTHER} ${OWN}`]));
      const sent = authorizations();
      expect(sent.slice(0, 2)).toEqual(["HEAD -", "HEAD Bearer own"]);
      expect(sent.slice(2, -2).every((each) => each === "POST Bearer both")).toBe(true);
      expect(sent.slice(-2)).toEqual(["POST Bearer own", "PUT Bearer own"]);
    });

    it("sends it where no token is given for the other repository", async () => {
      const give = tokens.fault;
      tokens.fault = (request) =>
        request.query.getAll("scope").includes(OTHER) ? { kind: "status", status: 403 } : give?.(request);
      expect(await push()).toBe(true);
      expect(authorizations()).toEqual(["HEAD -", "HEAD Bearer own", "POST Bearer own", "PUT Bearer own"]);
    });
  });
});
