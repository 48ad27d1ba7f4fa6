import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { generateSpec } from "../spec-default.ts";
import type { RuntimeSpec } from "../spec-model.ts";
import { parseCdiSpec } from "./cdi-spec.ts";
import { parseCdiName, withCdiDevices, withGpus } from "./inject.ts";

describe("CDI", () => {
  let root: string;
  let directories: string[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "berth-cdi-"));
    directories = ["etc", "run"].map((name) => join(root, name));
    for (const directory of directories) mkdirSync(directory);
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const device = (name: string, containerEdits: object): object => ({ name, containerEdits });
  const write = (place: "etc" | "run", file: string, spec: unknown): void =>
    writeFileSync(join(root, place, file), typeof spec === "string" ? spec : JSON.stringify(spec));
  const vendor = (devices: object[], containerEdits: object = {}): object => ({
    cdiVersion: "0.6.0",
    kind: "vendor.com/net",
    devices,
    containerEdits,
  });
  const inject = async (...names: string[]): Promise<RuntimeSpec> => {
    const option = await withCdiDevices(names, { directories });
    return generateSpec({ namespace: "ns", id: "c", options: [option] });
  };

  it("makes every kind of edit, those of the file once", async () => {
    const node = { path: "/dev/n0", hostPath: "/dev/null", permissions: "rw", uid: 7 };
    const given = { path: "/dev/n1", type: "b", major: 7, minor: 9, fileMode: 0o600 };
    const deep = { hostPath: "/lib/x", containerPath: "/a/b/c/d", options: ["ro", "bind"] };
    const hook = { hookName: "createContainer", path: "/bin/hook", args: ["hook", "x"] };
    const one = {
      env: ["ONE=1"],
      deviceNodes: [node, given],
      hooks: [hook],
      additionalGids: [0, 44],
      netDevices: [{ hostInterfaceName: "eth9", name: "net0" }],
      intelRdt: { closID: "c" },
    };
    write("etc", "v.json", vendor([device("one", one), device("two", { mounts: [deep] })], { env: ["ALL=1"] }));
    const spec = await inject("vendor.com/net=one", "vendor.com/net=two", "vendor.com/net=one");
    expect(spec.process?.env).toEqual(["ONE=1", "ALL=1"]);
    expect(spec.process?.user.additionalGids).toEqual([44]);
    expect(spec.linux?.devices).toEqual([
      { path: "/dev/n0", type: "c", major: 1, minor: 3, uid: 7, gid: 0 },
      { path: "/dev/n1", type: "b", major: 7, minor: 9, fileMode: 0o600 },
    ]);
    expect(spec.linux?.resources?.devices?.slice(1)).toEqual([
      { allow: true, type: "c", major: 1, minor: 3, access: "rw" },
      { allow: true, type: "b", major: 7, minor: 9, access: "rwm" },
    ]);
    expect(spec.mounts?.at(-1)).toEqual({
      destination: "/a/b/c/d",
      source: "/lib/x",
      type: "bind",
      options: ["ro", "bind"],
    });
    expect(spec.hooks).toEqual({ createContainer: [{ path: "/bin/hook", args: ["hook", "x"] }] });
    expect(spec.linux?.netDevices).toEqual({ eth9: { name: "net0" } });
    expect(spec.linux?.intelRdt).toEqual({ closID: "c" });
  });

  it("prefers the later directory, and believes neither of two files of one", async () => {
    write("etc", "a.json", vendor([device("x", { env: ["FROM=etc"] })]));
    write("run", "a.json", vendor([device("x", { env: ["FROM=run"] })]));
    expect((await inject("vendor.com/net=x")).process?.env).toEqual(["FROM=run"]);
    write("run", "b.yaml", vendor([device("x", { env: ["FROM=b"] })]));
    await expect(inject("vendor.com/net=x").catch(codeOf)).resolves.toBe(Code.NotFound);
  });

  it("a file that is not understood takes no other device with it, and is named when its own is missed", async () => {
    write("etc", "good.json", vendor([device("x", {})]));
    write("etc", "bad.json", "{");
    write("etc", "real.yaml", "cdiVersion: 0.6.0\nkind: vendor.com/gpu\n");
    write("etc", "not.txt", "x");
    await inject("vendor.com/net=x");
    await expect(inject("vendor.com/gpu=0")).rejects.toThrow(/vendor.com\/gpu=0.*bad\.json.*real\.yaml/s);
  });

  it("reads YAML as Go does: octal modes, names that are numbers, anchors", async () => {
    const text = `
cdiVersion: 0.6.0
kind: vendor.com/net   # what the devices are
devices:
  - name: 0
    containerEdits: &edits
      env: [FROM=yaml]
      deviceNodes:
        - {path: /dev/n1, type: b, major: 7, minor: 9, fileMode: 0660}
  - name: "all"
    containerEdits: *edits
`;
    write("etc", "v.yaml", text);
    for (const name of ["0", "all"]) {
      const spec = await inject(`vendor.com/net=${name}`);
      expect(spec.process?.env).toEqual(["FROM=yaml"]);
      expect(spec.linux?.devices).toEqual([{ path: "/dev/n1", type: "b", major: 7, minor: 9, fileMode: 0o660 }]);
    }
  });

  const bomb = Array.from({ length: 30 }, (_, index) => `a${index}: &a${index} [*a${index - 1}, *a${index - 1}]`);
  it.each([
    ["two documents", "a: 1\n---\na: 2\n"],
    ["a key twice", "kind: a\nkind: b\n"],
    ["aliases of aliases", `a-1: &a-1 [1]\n${bomb.join("\n")}`],
    ["what holds itself", "cdiVersion: 0.6.0\nkind: v/c\ndevices: &a [*a]\n"],
    ["a depth without end", "[".repeat(100_000)],
    ["nothing", ""],
    ["a tag", "devices: !!binary aGk=\n"],
  ])("YAML with %s is named as not understood, and takes no other file with it", async (_, text) => {
    write("etc", "good.json", vendor([device("x", {})]));
    write("etc", "bad.yml", text);
    await inject("vendor.com/net=x");
    await expect(inject("vendor.com/net=y")).rejects.toThrow(/bad\.yml/);
  });

  it.each([
    [{ ...vendor([]), cdiVersion: "9.0.0" }],
    [{ ...vendor([]), kind: "no-vendor" }],
    [{ ...vendor([]), unknown: 1 }],
    [vendor([device("x", { surprise: [] })])],
    [vendor([device("x", { deviceNodes: [{ path: "relative" }] })])],
    [vendor([device("x", { deviceNodes: [{ path: "/x", permissions: "rwx" }] })])],
    [vendor([device("x", { hooks: [{ hookName: "never", path: "/x" }] })])],
    [vendor([device("x", { env: ["NOTHING"] })])],
    [vendor([device("x", { mounts: [{ hostPath: "/x" }] })])],
    [vendor([device("x", { netDevices: [{ hostInterfaceName: "a/b", name: "x" }] })])],
    [vendor([device("x", { netDevices: [{ name: "x" }] })])],
    [vendor([device("x", {}), device("x", {})])],
    [vendor([device("-x", {})])],
  ])("refuses %j", (value) => {
    expect(() => parseCdiSpec(value)).toThrow(expect.objectContaining({ code: Code.InvalidArgument }));
  });

  it("fails on anything else with invalid_argument alone", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          parseCdiSpec(value);
        } catch (error) {
          expect(codeOf(error)).toBe(Code.InvalidArgument);
        }
      }),
    );
  });

  it.each([
    ["vendor.com/class=name", { kind: "vendor.com/class", name: "name" }],
    ["nvidia.com/gpu=0", { kind: "nvidia.com/gpu", name: "0" }],
    ["v/c=a:b", { kind: "v/c", name: "a:b" }],
    ["/dev/null", undefined],
    ["/dev/a=b", undefined],
    ["vendor.com/class=", undefined],
    ["vendor.com=x", undefined],
  ])("the name %j is %j", (text, expected) => expect(parseCdiName(text)).toEqual(expected));

  it("finds the vendor of the GPUs", async () => {
    const gpus = async (...ids: string[]): Promise<RuntimeSpec> =>
      generateSpec({ namespace: "ns", id: "c", options: [await withGpus(ids, { directories })] });
    await expect(gpus("0").catch(codeOf)).resolves.toBe(Code.NotFound);
    write("etc", "amd.json", { ...vendor([device("0", { env: ["GPU=amd"] })]), kind: "amd.com/gpu" });
    expect((await gpus("0")).process?.env).toEqual(["GPU=amd"]);
    write("etc", "nv.json", { ...vendor([device("all", { env: ["GPU=nv"] })]), kind: "nvidia.com/gpu" });
    expect((await gpus("all")).process?.env).toEqual(["GPU=nv"]);
    await expect(gpus("7").catch(codeOf)).resolves.toBe(Code.NotFound);
  });
});
