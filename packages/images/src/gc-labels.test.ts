import { parseDigest } from "@berth/oci";
import { expect, it } from "vitest";

import { childLabels } from "./gc-labels.ts";

const digest = (digit: string) => parseDigest(`sha256:${digit.repeat(64)}`);
const child = (mediaType: string, digit: string, annotations?: Record<string, string>) => ({
  mediaType,
  digest: digest(digit),
  size: 1,
  ...(annotations === undefined ? {} : { annotations }),
});
const OCI = "application/vnd.oci.image";
const DOCKER = "application/vnd.docker";

it.each([
  [
    "manifests",
    [child(`${OCI}.manifest.v1+json`, "1"), child(`${DOCKER}.distribution.manifest.v2+json`, "2")],
    ["m.0", "m.1"],
  ],
  [
    "config and layers",
    [
      child(`${OCI}.config.v1+json`, "1"),
      child(`${OCI}.layer.v1.tar+gzip`, "2"),
      child(`${DOCKER}.image.rootfs.diff.tar`, "3"),
    ],
    ["config", "l.0", "l.1"],
  ],
  [
    "a second config",
    [child(`${OCI}.config.v1+json`, "1"), child(`${DOCKER}.container.image.v1+json`, "2")],
    ["config", "config1"],
  ],
  ["indexes and others", [child(`${OCI}.index.v1+json`, "1"), child("text/plain", "2")], ["0", "1"]],
  [
    "a referrer",
    [child(`${OCI}.manifest.v1+json`, "1", { "io.containerd.manifest.subject": digest("2") })],
    ["referrer.sha256.111111111111"],
  ],
])("childLabels of %s", (_, children, keys) => {
  const expected = keys.map((key, at) => [`containerd.io/gc.ref.content.${key}`, children[at]?.digest]);
  expect([...childLabels(children)]).toEqual(expected);
});

it("childLabels without layers leaves them to the collector", () => {
  const children = [child(`${OCI}.config.v1+json`, "1"), child(`${OCI}.layer.v1.tar`, "2")];
  expect([...childLabels(children, { withoutLayers: true }).keys()]).toEqual(["containerd.io/gc.ref.content.config"]);
});
