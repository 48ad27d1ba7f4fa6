import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf, messageOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import type { LoadedConfig } from "./load-config.ts";
import { loadConfig } from "./load-config.ts";

async function load(files: Readonly<Record<string, string>>, overrides = {}): Promise<LoadedConfig> {
  await using directory = await temporaryDirectory("config");
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(directory.path, name, ".."), { recursive: true });
    await writeFile(join(directory.path, name), text);
  }
  return await loadConfig(join(directory.path, "config.toml"), { required: true, overrides });
}

describe("loadConfig", () => {
  it("lets the command line win over the file, and the file over the defaults", async () => {
    const { config } = await load(
      { "config.toml": 'version = 4\nroot = "/file/root"\nstate = "/file/state"' },
      { root: "/flag/root" },
    );
    expect(config).toMatchObject({ root: "/flag/root", state: "/file/state", oom_score: 0 });
  });

  it("needs no file that the user did not name", async () => {
    expect((await loadConfig("/nonexistent/config.toml", { required: false })).config.root).toBe("/var/lib/berth");
    const error = await loadConfig("/nonexistent/config.toml", { required: true }).catch((e: unknown) => e);
    expect(codeOf(error)).toBe(Code.NotFound);
  });

  it("names file, line and column of malformed TOML", async () => {
    const error: unknown = await load({ "config.toml": 'version = 4\nroot = "unclosed\n' }).catch((e: unknown) => e);
    expect(codeOf(error)).toBe(Code.InvalidArgument);
    expect(messageOf(error)).toMatch(/config\.toml:2:\d+: /);
  });

  it.each([
    ['oom_score = "x"', "oom_score"],
    ['[debug]\nlevel = "loud"', "debug.level"],
    ["version = 5", "version"],
    ['version = "4"', "version"],
    ["imports = [1]", "imports"],
    ['[proxy_plugins."a.b"]\ntype = "snapshot"', 'proxy_plugins."a.b".address'],
  ])("refuses %j and names the place", async (text, place) => {
    const error: unknown = await load({ "config.toml": text }).catch((e: unknown) => e);
    expect(codeOf(error)).toBe(Code.InvalidArgument);
    expect(messageOf(error)).toContain(place);
  });

  it("reports unknown keys by their path", async () => {
    const { unknownKeys } = await load({ "config.toml": 'version = 4\nrooot = "/x"\n[debug]\ncolour = true' });
    expect(unknownKeys).toEqual(["rooot", "debug.colour"]);
  });

  it("merges imports breadth first, each file once, loops included", async () => {
    const { config } = await load({
      "config.toml":
        'version = 4\nroot = "/main"\nimports = ["conf.d/*.toml", "config.toml"]\ndisabled_plugins = ["a.b"]\n[plugins."x.y"]\nkeep = 1\nwin = 1\n[timeouts]\na = "1s"\nb = "1s"',
      "conf.d/1.toml":
        'version = 4\nimports = ["../other.toml"]\ndisabled_plugins = ["a.b", "c.d"]\n[plugins."x.y"]\nwin = 2\n[timeouts]\nb = "2s"',
      "conf.d/2.toml": 'version = 4\nroot = ""\noom_score = 7',
      "other.toml": "version = 4\noom_score = 9",
    });
    expect(config.plugins).toEqual({ "x.y": { keep: 1, win: 2 } });
    expect(config).toMatchObject({
      disabled_plugins: ["a.b", "c.d"],
      oom_score: 9,
      root: "/main",
      timeouts: { a: "1s", b: "2s" },
    });
  });

  it.each([
    [
      "version 1, by short names",
      'disabled_plugins = ["cri"]\n[plugins.overlayfs]\nroot_path = "/x"',
      {
        disabled_plugins: ["io.containerd.grpc.v1.cri"],
        plugins: { "io.containerd.snapshotter.v1.overlayfs": { root_path: "/x" } },
      },
    ],
    [
      "version 2, server tables",
      'version = 2\n[grpc]\naddress = "/s"\n[ttrpc]\nuid = 3',
      { plugins: { "io.containerd.server.v1.grpc": { address: "/s" }, "io.containerd.server.v1.ttrpc": { uid: 3 } } },
    ],
    [
      "version 2, listeners",
      'version = 2\n[grpc]\naddress = "/s"\ntcp_address = "127.0.0.1:1"\ntcp_tls_ca = "/ca"\n[debug]\nlevel = "debug"\naddress = "/d"\n[metrics]\naddress = ":2"\ngrpc_histogram = true',
      {
        debug: { level: "debug" },
        plugins: {
          "io.containerd.server.v1.grpc": { address: "/s" },
          "io.containerd.server.v1.grpc-tcp": { address: "127.0.0.1:1", tls_ca: "/ca" },
          "io.containerd.server.v1.debug": { address: "/d" },
          "io.containerd.server.v1.metrics": { address: ":2" },
          "io.containerd.metrics.v1.grpc-prometheus": { grpc_histogram: true },
        },
      },
    ],
    [
      "version 4, the debug listener in its old place; its own table wins",
      'version = 4\n[debug]\naddress = "/d"\nuid = 7\n[plugins."io.containerd.server.v1.debug"]\naddress = "/own"',
      { plugins: { "io.containerd.server.v1.debug": { address: "/own", uid: 7 } } },
    ],
    [
      "version 3, service tables",
      'version = 3\n[plugins."io.containerd.service.v1.diff-service"]\nsync_fs = true',
      { plugins: { "io.containerd.grpc.v1.diff": { sync_fs: true } } },
    ],
  ])("understands %s", async (_, text, expected) => {
    expect((await load({ "config.toml": text })).config).toMatchObject({ ...expected, version: 4 });
  });
});
