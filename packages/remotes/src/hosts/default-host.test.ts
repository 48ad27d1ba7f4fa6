import { expect, it } from "vitest";

import { defaultHost, isLocalhost, isUpstream } from "./default-host.ts";
import { originOf } from "./registry-host.ts";

it.each([
  ["docker.io", "https://registry-1.docker.io", false],
  ["example.org", "https://example.org", false],
  ["example.org:5000", "https://example.org:5000", false],
  ["localhost", "https://localhost", false],
  ["localhost:443", "https://localhost", false],
  ["localhost:80", "http://localhost", false],
  ["localhost:5000", "http://localhost:5000", true],
  ["127.0.0.1:5000", "http://127.0.0.1:5000", true],
  ["[::1]:5000", "http://[::1]:5000", true],
  ["127.0.0.1.example.org:5000", "https://127.0.0.1.example.org:5000", false],
])("defaultHost(%j) is %s", (registry, origin, unverified) => {
  const host = defaultHost(registry);
  expect(originOf(host)).toBe(origin);
  expect(host.tls?.skipVerify ?? false).toBe(unverified);
  expect(host.triesTls ?? false).toBe(unverified);
});

it("isLocalhost and isUpstream", () => {
  expect(isLocalhost("localhost.example.org")).toBe(false);
  expect(isUpstream("registry-1.docker.io", "docker.io")).toBe(true);
  expect(isUpstream("mirror.example.org", "docker.io")).toBe(false);
});
