import { afterAll, beforeAll, expect, it } from "vitest";

import { complete } from "./complete.ts";

const before = process.env["CONTAINERD_ADDRESS"];
beforeAll(() => {
  process.env["CONTAINERD_ADDRESS"] = "/nowhere/there-is-no-daemon.sock";
});
afterAll(() => {
  if (before === undefined) delete process.env["CONTAINERD_ADDRESS"];
  else process.env["CONTAINERD_ADDRESS"] = before;
});

it.each([
  [["ver"], ["version"]],
  [["im"], ["images"]],
  [
    ["images", "pu"],
    ["pull", "push"],
  ],
  [["i", "pul"], ["pull"]],
  [["-n", "k8s.io", "images", "che"], ["check"]],
  [["--namespace=k8s.io", "images", "che"], ["check"]],
  [["--deb"], ["--debug"]],
  [["run", "--read"], ["--read-only"]],
  [["run", "--rm", "--net"], ["--net-host"]],
  // The value of a flag, and what runs in the container, is not ours to know.
  [["run", "--env", ""], []],
  [["-n", ""], []],
  [["run", "image", "id", "--"], []],
  [["nonsense", ""], []],
  // Unless it is one of a few words.
  [
    ["images", "ls", "--format", ""],
    ["table", "json"],
  ],
  [["images", "ls", "-q", "--format", "j"], ["json"]],
  [
    ["completion", ""],
    ["bash", "zsh", "fish"],
  ],
  [["completion", "z"], ["zsh"]],
  // Flags of a group stand before the name of its command.
  [["snapshots", "--snapshotter", "native", "tr"], ["tree"]],
  [["snapshots", "--snapshotter=native", "tr"], ["tree"]],
  [["snapshots", "--snapshotter", ""], []],
  [["snapshots", "--nonsense", "tr"], []],
  [["system", "p"], ["prune"]],
  [["content", "prune", ""], ["references"]],
  [["containers", "com"], ["commit"]],
  [["images", "co"], ["convert"]],
  [["pprof", "h"], ["heap"]],
  [["content", "prune", "references", "--d"], ["--dry"]],
  [["images", "prune", "--dry"], ["--dry-run"]],
  // A flag that is refused is not offered.
  [["images", "pull", "--http-d"], []],
  // Without a daemon there are no names, and no error.
  [["tasks", "kill", ""], []],
])("complete(%j) offers %j", async (words, expected) => {
  expect((await complete(words)).map(({ text }) => text)).toEqual(expected);
});

it("complete tells what each is for", async () => {
  expect(await complete(["vers"])).toEqual([
    { text: "version", description: "Show the versions of this program and of the daemon" },
  ]);
});
