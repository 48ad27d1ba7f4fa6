import { writeBlob } from "@berth/core/content";
import { codeName, codeOf, notFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { FaultRegistry, RegistryFault } from "@berth/testing";
import { MemoryContentStore, sha256, startFaultRegistry } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { PushOptions } from "../src/index.ts";
import { RegistryClient } from "../src/index.ts";

const BLOB = new Uint8Array(3_000_000).map((_, index) => index % 251);
const MANIFEST = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociManifest }));
const CUT = { kind: "reset", after: 0 } as const;

describe("RegistryClient pushing to a registry that fails", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let client: RegistryClient;
  let store: MemoryContentStore;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    client = stack.use(new RegistryClient());
    store = new MemoryContentStore();
    for (const bytes of [BLOB, MANIFEST]) {
      await writeBlob(store, "x", [bytes], { digest: sha256(bytes), size: bytes.length });
    }
  });

  afterEach(() => stack.disposeAsync());

  const SUBJECTS = [
    ["blob", BLOB, "application/octet-stream"],
    ["manifest", MANIFEST, MediaType.ociManifest],
  ] as const;
  const NAMES = ["blob", "manifest"] as const;
  const describedAs = (name: string): Descriptor & { readonly bytes: Uint8Array } => {
    const [, bytes, mediaType] = SUBJECTS.find(([each]) => each === name) ?? SUBJECTS[0];
    return { mediaType, digest: sha256(bytes), size: bytes.length, bytes };
  };
  const push = async (name: string, options: PushOptions = {}): Promise<boolean | string> => {
    const { bytes: _bytes, ...descriptor } = describedAs(name);
    return await client.push(`${registry.host}/x:1`, descriptor, store, options).catch(
      // An AbortError, and what tests throw, have no code.
      (error: unknown) => codeName(codeOf(error)),
    );
  };
  const stored = (name: string): boolean => {
    const { bytes, digest } = describedAs(name);
    const found = registry.find(digest);
    return found !== undefined && Buffer.compare(found, bytes) === 0;
  };
  /** Faults strike the first request of their method, wherever it goes: each attempt of an upload has a place of its own. */
  const failOnce = (method: string, fault: RegistryFault): void => {
    let struck = false;
    registry.fault = (request) => {
      if (struck || request.method !== method) return undefined;
      struck = true;
      return fault;
    };
  };
  const requests = (): string[] => registry.requests.map(({ method }) => method);

  it.each(NAMES)("a %s is sent once, and told of", async (name) => {
    let [bytes, ends] = [0, 0];
    const options = { onProgress: (count: number) => void (bytes += count), onSent: () => void (ends += 1) };
    expect(await push(name, options)).toBe(true);
    expect(stored(name)).toBe(true);
    expect([bytes, ends]).toEqual([describedAs(name).size, 1]);
    expect(await push(name)).toBe(false);
  });

  it.each<readonly [string, RegistryFault]>([
    ["the server fails", { kind: "status", status: 503 }],
    ["the server is busy", { kind: "status", status: 429, headers: { "retry-after": "0" } }],
    ["the server takes too long for itself", { kind: "status", status: 408 }],
  ])("of any object is completed when %s once, whatever it is asked", async (_case, fault) => {
    for (const name of NAMES) {
      for (const method of name === "blob" ? ["HEAD", "POST", "PUT"] : ["HEAD", "PUT"]) {
        failOnce(method, fault);
        expect.soft(await push(name), `${method} of a ${name}`).toBe(true);
        expect.soft(stored(name)).toBe(true);
        await registry[Symbol.asyncDispose]();
        registry = stack.use(await startFaultRegistry());
      }
    }
  });

  it.each([0, 1, 1_000_000, BLOB.length - 1, BLOB.length])(
    "of a blob goes on when the connection breaks after %i bytes",
    async (after) => {
      failOnce("PUT", { kind: "reset", after });
      expect(await push("blob")).toBe(true);
      expect(stored("blob")).toBe(true);
      const rest = registry.requests.find(({ method }) => method === "PATCH");
      if (rest !== undefined) expect(Number(rest.headers["content-length"])).toBeLessThan(BLOB.length);
    },
  );

  it("of a blob goes on when the rest breaks off too", async () => {
    registry.fault = ({ method, nth }) =>
      (method === "PUT" || method === "PATCH") && nth === 0 ? { kind: "reset", after: 700_000 } : undefined;
    expect(await push("blob")).toBe(true);
    expect(stored("blob")).toBe(true);
    expect(requests().filter((method) => method === "PATCH")).toHaveLength(2);
  });

  it.each(NAMES)("of a %s whose answer is lost is done when the registry has it", async (name) => {
    failOnce("PUT", { kind: "lose-answer" });
    expect(await push(name)).toBe(true);
    expect(stored(name)).toBe(true);
  });

  it.each<readonly [string, (method: string) => RegistryFault | undefined, string]>([
    ["always breaks", (method) => (method === "PUT" || method === "PATCH" ? CUT : undefined), "unavailable"],
    [
      "is forbidden",
      (method) => (method === "HEAD" ? undefined : { kind: "status", status: 403 }),
      "permission_denied",
    ],
    [
      "is too large",
      (method) => (method === "PUT" ? { kind: "status", status: 413 } : undefined),
      "failed_precondition",
    ],
    [
      "is refused as other bytes",
      (method) => (method === "PUT" ? { kind: "status", status: 400 } : undefined),
      "invalid_argument",
    ],
    [
      "is stored as something else",
      (method) =>
        method === "PUT"
          ? { kind: "headers", headers: { "docker-content-digest": sha256(BLOB.subarray(1)) } }
          : undefined,
      "failed_precondition",
    ],
    [
      "comes later than the registry waits",
      (method) => (method === "PUT" ? { kind: "status", status: 429, headers: { "retry-after": "3600" } } : undefined),
      "resource_exhausted",
    ],
    [
      "needs a user",
      () => ({ kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }),
      "unauthenticated",
    ],
  ])("of any object that %s fails", { timeout: 20_000 }, async (_case, fault, code) => {
    for (const name of NAMES) {
      registry.fault = ({ method }) => fault(method);
      expect.soft(await push(name), name).toBe(code);
    }
  });

  it.each(["", "ftp://127.0.0.1/x", "http://["])("of a blob fails when it is to go to %j", async (location) => {
    registry.fault = ({ method }) => (method === "POST" ? { kind: "headers", headers: { location } } : undefined);
    expect(await push("blob")).toBe("internal");
  });

  it.each(NAMES)("of a %s that stalls ends when it is cancelled", async (name) => {
    registry.fault = ({ method }) => (method === "PUT" ? { kind: "stall", after: 10 } : undefined);
    const abort = new AbortController();
    const { bytes: _bytes, ...descriptor } = describedAs(name);
    const pushing = client.push(`${registry.host}/x:1`, descriptor, store, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 100);
    await expect(pushing).rejects.toThrow("enough");
  });

  it.each(NAMES)("of a %s that cannot be read fails as its store does, and is not tried again", async (name) => {
    let opened = 0;
    const broken = {
      async reader() {
        opened += 1;
        return {
          size: describedAs(name).size,
          async readAt(): Promise<Uint8Array> {
            throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
          },
          async [Symbol.asyncDispose]() {},
        };
      },
    };
    const { bytes: _bytes, ...descriptor } = describedAs(name);
    const outcome = await client.push(`${registry.host}/x:1`, descriptor, broken).catch((error: unknown) => error);
    expect(codeName(codeOf(outcome))).not.toBe("unavailable");
    expect(opened).toBe(1);
    const gone = { reader: () => Promise.reject(notFound("no such blob")) };
    const other = await client.push(`${registry.host}/x:1`, descriptor, gone).catch((error: unknown) => error);
    expect(codeName(codeOf(other))).toBe("not_found");
  });

  it("of a blob follows a redirect of its upload, with all its bytes and nothing that names the user", async () => {
    await using other = await startFaultRegistry();
    const basic = { kind: "status", status: 401, headers: { "www-authenticate": "Basic realm=x" } } as const;
    const session = (): string => `http://${other.host}/v2/x/blobs/uploads/`;
    const opened = await fetch(session(), { method: "POST" });
    const to = new URL(opened.headers.get("location") ?? "", session());
    registry.fault = ({ method, headers, query }) => {
      if (headers.authorization === undefined) return basic;
      if (method !== "PUT") return undefined;
      return { kind: "status", status: 307, headers: { location: `${to.href}?${query.toString()}` } };
    };
    await using user = new RegistryClient({ credentials: async () => ({ username: "u", secret: "s" }) });
    const { bytes: _bytes, ...descriptor } = describedAs("blob");
    expect(await user.push(`${registry.host}/x:1`, descriptor, store)).toBe(true);
    expect(other.find(descriptor.digest)).toHaveLength(BLOB.length);
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
  });

  // As containerd does: pusher.go, ErrInvalidAuthorization.
  it.each(
    NAMES.flatMap((name) => [
      { name, refusal: "a user is wanted", challenge: 'Basic realm="x"' },
      {
        name,
        refusal: "the token does not go that far",
        challenge: 'Bearer realm="REGISTRY/token",error="insufficient_scope"',
      },
    ]),
  )("pushes a $name also where nobody may ask for it: $refusal", async ({ name, challenge }) => {
    const headers = { "www-authenticate": challenge.replace("REGISTRY", `http://${registry.host}`) };
    registry.fault = ({ method, path }) => {
      if (path === "/token") return { kind: "status", status: 200, body: '{"token":"t"}' };
      return method === "HEAD" ? { kind: "status", status: 401, headers } : undefined;
    };
    expect(await push(name)).toBe(true);
    expect(stored(name)).toBe(true);
  });

  it.each(NAMES)("does not push a %s where nobody may push", async (name) => {
    const headers = { "www-authenticate": 'Basic realm="x"' };
    registry.fault = () => ({ kind: "status", status: 401, headers });
    expect(await push(name)).toBe("unauthenticated");
    expect(stored(name)).toBe(false);
  });
});
