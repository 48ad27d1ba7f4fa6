import { MediaType } from "@berth/oci";
import { startFaultRegistry } from "@berth/testing";
import { expect, it } from "vitest";

import type { HttpStep } from "../src/index.ts";
import { RegistryClient } from "../src/index.ts";

it("onHttp is told of requests to registry, token server and where they redirect, and of no secret", async () => {
  await using registry = await startFaultRegistry();
  await using elsewhere = await startFaultRegistry();
  await using tokens = await startFaultRegistry();
  const blob = registry.add(new Uint8Array(100));
  elsewhere.add(new Uint8Array(100));
  registry.tag("1", registry.add(new TextEncoder().encode("{}"), MediaType.ociManifest));
  tokens.fault = () => ({ kind: "status", status: 200, body: '{"token":"s3cret-token"}' });
  registry.fault = ({ headers, path }) => {
    if (headers.authorization === undefined) {
      const realm = `http://${tokens.host}/token?account=s3cret`;
      const challenge = { "www-authenticate": `Bearer realm="${realm}",service="reg",scope="repository:x:pull"` };
      return { kind: "status", status: 401, headers: { ...challenge, "set-cookie": "s3cret" } };
    }
    if (!path.includes("/blobs/")) return undefined;
    const location = `http://s3cret@${elsewhere.host}${path}?sig=s3cret&ns=example.org`;
    return { kind: "status", status: 307, headers: { location } };
  };
  const steps: HttpStep[] = [];
  await using client = new RegistryClient({
    credentials: async () => ({ username: "s3cret-user", secret: "s3cret-word" }),
    headers: new Map([["x-api-key", ["s3cret"]]]),
    onHttp: (step) => void steps.push(step),
  });
  await client.resolve(`${registry.host}/x:1`);
  await Array.fromAsync(client.fetch(`${registry.host}/x:1`, blob));
  expect(JSON.stringify(steps)).not.toContain("s3cret");
  const manifest = `http://${registry.host}/v2/x/manifests/1`;
  const content = `/v2/x/blobs/${blob.digest}`;
  expect(
    steps.filter(({ event }) => event === "response").map(({ method, url, status }) => [method, url, status]),
  ).toEqual([
    ["HEAD", manifest, 401],
    ["POST", `http://${tokens.host}/token?account=…`, 200],
    ["HEAD", manifest, 200],
    ["GET", `http://${registry.host}${content}`, 307],
    ["GET", `http://${elsewhere.host}${content}?sig=…&ns=example.org`, 200],
  ]);
  expect(steps.at(-1)?.headers).toMatchObject({ "content-length": "100", "docker-content-digest": blob.digest });
});

it("onHttp is told of a request that fails", async () => {
  const events: string[] = [];
  await using client = new RegistryClient({ onHttp: ({ event }) => void events.push(event) });
  await client.resolve("127.0.0.1:1/x:1").catch(() => {});
  expect(new Set(events)).toEqual(new Set(["request", "failed"]));
});
