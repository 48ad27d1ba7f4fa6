import { chmod, readdir, truncate } from "node:fs/promises";
import { join } from "node:path";

import { busyboxImage, startBerthd } from "@berth/testing";
import { describe, expect, it } from "vitest";

describe("berthd after an unclean stop", () => {
  it("serves, finds a damaged layer, and has it fetched again", { timeout: 60_000 }, async () => {
    await using daemon = await startBerthd();
    const image = await busyboxImage();
    const load = () => daemon.ctr(["image", "import", "--no-unpack", "-"], { input: image.archive });
    expect((await load()).code).toBe(0);
    const layer =
      [...image.blobs.keys()].find((digest) => digest !== image.config.digest && digest !== image.manifest.digest) ??
      "";
    const store = join(daemon.root, "io.containerd.content.v1.content");
    const path = join(store, "blobs", ...layer.split(":"));

    await daemon.restart({
      signal: "SIGKILL",
      whileDown: async () => {
        await chmod(path, 0o644);
        await truncate(path, 100);
      },
    });
    const check = async () => (await daemon.ctr(["image", "check"])).stdout;
    await expect.poll(check, { timeout: 20_000 }).toContain("incomplete");
    expect(await daemon.log()).toContain("moved aside");
    expect(await readdir(join(store, "corrupt"))).toEqual([layer.replace(":", "-")]);

    expect((await load()).code).toBe(0);
    expect(await check()).toMatch(/\scomplete/);
    expect((await daemon.ctr(["image", "import", "-"], { input: image.archive })).code).toBe(0);
    expect(await daemon.ctr(["run", "--rm", image.name, "c1", "echo", "healed"])).toMatchObject({ stdout: "healed\n" });

    await daemon.restart();
    expect(await check()).toMatch(/\scomplete/);
  });
});
