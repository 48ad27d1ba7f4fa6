import { expect, it } from "vitest";

import { formatDigest } from "./digest.ts";
import { erofsArguments, erofsUuid, isErofsLayer } from "./erofs-layer.ts";

it("erofsUuid names an image by a UUID of version 5 of its layer", () => {
  expect(erofsUuid(formatDigest("sha256", "0".repeat(64)))).toBe("c10bde68-dd4e-5792-ba63-78c7b75c15bf");
});

it("isErofsLayer knows compressed ones too, and no archives", () => {
  const types = ["", "+zstd"].map((suffix) => `application/vnd.erofs.layer.v1${suffix}`);
  expect([...types, "application/vnd.oci.image.layer.v1.tar"].map(isErofsLayer)).toEqual([true, true, false]);
});

it("erofsArguments leave a size of blocks that is given", () => {
  const uuidOf = formatDigest("sha256", "0".repeat(64));
  const rest = ["-U", erofsUuid(uuidOf), "/image"];
  const fixed = ["--aufs", "--quiet", "-Enoinline_data"];
  const made = (options: readonly string[]) => erofsArguments("f", "/image", { options, uuidOf });
  expect(made(["-zlz4"])).toEqual(["--tar=f", ...fixed, "-b4096", "-zlz4", ...rest]);
  expect(made(["-zlz4", "-b512"])).toEqual(["--tar=f", ...fixed, "-zlz4", "-b512", ...rest]);
});
