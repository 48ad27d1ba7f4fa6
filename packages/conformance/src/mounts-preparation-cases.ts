import { chmod, mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import { mountOf, type MountSubject, readThrough } from "./mounts-subject.ts";
import type { ConformanceCase } from "./run-conformance.ts";

const SIZE = "X-containerd.mkfs.size=16MiB";

/** Rules of `format/`, `mkfs/` and `mkdir/`. */
export const mountPreparationCases: readonly ConformanceCase<MountSubject>[] = [
  {
    name: "a writable image is made once, and keeps what is written to it",
    async run(subject) {
      const { mounts, directory } = subject;
      const image = join(directory, "rwlayer.img");
      const uuid = "6d3ad5b0-8f2e-4b55-9c8a-0f6a0d6b7c11";
      const list = [
        mountOf("mkfs/ext4", image, "X-containerd.mkfs.fs=ext4", SIZE, `X-containerd.mkfs.uuid=${uuid}`, "rw", "loop"),
        mountOf("format/mkdir/bind", "{{ mount 0 }}/upper", "X-containerd.mkdir.path={{ mount 0 }}/upper:755", "rbind"),
      ];
      const info = await mounts.activate("a", list);
      expect(info.active).toMatchObject([{ type: "ext4", source: image, options: ["rw", "loop"] }]);
      const upper = join(info.active[0]?.mountPoint ?? "", "upper");
      expect(info.system).toEqual([mountOf("bind", upper, "rbind")]);
      expect((await stat(upper)).mode & 0o7777).toBe(0o755);
      expect((await stat(image)).mode & 0o7777).toBe(0o640);
      expect((await stat(image)).size).toBe(16 * 1024 * 1024);
      await writeFile(join(upper, "kept"), "1");
      // as from inside a container
      await chmod(upper, 0o700);
      await mounts.deactivate("a");
      const again = await mounts.activate("a", list);
      expect(await readThrough(subject, again, "kept")).toBe("1");
      expect((await stat(join(again.active[0]?.mountPoint ?? "", "upper"))).mode & 0o7777).toBe(0o700);
      await mounts.deactivate("a");
      expect(await readdir(directory)).toEqual(["rwlayer.img"]);
    },
  },
  {
    name: "an overlay over a writable image has its directories made",
    async run(subject) {
      const { mounts, directory } = subject;
      const lower = await subject.image("erofs", { a: "1" });
      const list = [
        mountOf("erofs", lower, "ro", "loop"),
        mountOf("mkfs/ext4", join(directory, "rw"), SIZE, "rw", "loop"),
        mountOf(
          "format/mkdir/overlay",
          "overlay",
          "X-containerd.mkdir.path={{ mount 1 }}/upper:0755",
          "X-containerd.mkdir.path={{ mount 1 }}/work:0755:0:0",
          "workdir={{ mount 1 }}/work",
          "upperdir={{ mount 1 }}/upper",
          "lowerdir={{ overlay 0 0 }}",
        ),
      ];
      const info = await mounts.activate("a", list);
      {
        await using mounted = await subject.mount(info.system);
        await writeFile(join(mounted.path, "b"), "2");
        expect((await readdir(mounted.path)).toSorted()).toEqual(["a", "b"]);
      }
      await mounts.deactivate("a");
      const again = await mounts.activate("a", list);
      expect(await readThrough(subject, again, "b")).toBe("2");
      await mounts.deactivate("a");
    },
  },
  {
    name: "directories get the mode and owner asked for, 0700 where none is",
    async run(subject) {
      const { mounts, directory } = subject;
      const path = (name: string): string => `X-containerd.mkdir.path=${join(directory, name)}`;
      const options = [path("a"), `${path("b")}:751`, `${path("c")}:0770:1234:5678`];
      const info = await mounts.activate("x", [mountOf("mkdir/bind", directory, ...options, "rbind")]);
      expect(info).toMatchObject({ active: [], system: [mountOf("bind", directory, "rbind")] });
      const look = async (name: string) => {
        const { mode, uid, gid } = await stat(join(directory, name));
        return [mode & 0o7777, uid, gid];
      };
      expect(await Promise.all(["a", "b", "c"].map(look))).toEqual([
        [0o700, 0, 0],
        [0o751, 0, 0],
        [0o770, 1234, 5678],
      ]);
      await mounts.deactivate("x");
    },
  },
  {
    name: "nothing is made outside of the roots, by way of a link, or over what is there",
    async run({ mounts, directory }) {
      await mkdir(join(directory, "real"));
      await symlink(join(directory, "real"), join(directory, "link"));
      await symlink("real", join(directory, "near"));
      await writeFile(join(directory, "file"), "");
      const outside = [
        "/etc/berth-conformance",
        join(directory, "link/x"),
        join(directory, "near/x"),
        join(directory, "link"),
        join(directory, "missing/x"),
        join(directory, "file/x"),
      ];
      for (const path of outside) {
        const made = mounts.activate("a", [mountOf("mkdir/bind", "/", `X-containerd.mkdir.path=${path}`)]);
        await expectCode(made, Code.FailedPrecondition);
        await expectCode(mounts.activate("a", [mountOf("mkfs/ext4", path, SIZE)]), Code.FailedPrecondition);
      }
      const file = `X-containerd.mkdir.path=${join(directory, "file")}`;
      await expectCode(mounts.activate("a", [mountOf("mkdir/bind", "/", file)]), Code.FailedPrecondition);
      await expectCode(
        mounts.activate("a", [mountOf("mkfs/ext4", join(directory, "real"), SIZE)]),
        Code.FailedPrecondition,
      );
      for (const path of [
        `${directory}/../x`,
        "relative",
        `${directory}//x`,
        `${directory}/`,
        directory.slice(1),
        "",
      ]) {
        const made = mounts.activate("a", [mountOf("mkdir/bind", "/", `X-containerd.mkdir.path=${path}`)]);
        await expectCode(made, Code.InvalidArgument);
      }
      expect(await readdir(join(directory, "real"))).toEqual([]);
      expect((await readdir(directory)).toSorted()).toEqual(["file", "link", "near", "real"]);
    },
  },
  {
    name: "malformed options of preparations are invalid_argument",
    async run({ mounts, directory }) {
      const path = join(directory, "x");
      const bad = [
        ["mkfs/ext4"],
        ["mkfs/ext4", "X-containerd.mkfs.size=0"],
        ["mkfs/ext4", "X-containerd.mkfs.size=-1"],
        ["mkfs/ext4", "X-containerd.mkfs.size=1e9"],
        ["mkfs/ext4", "X-containerd.mkfs.size=9999999999999999"],
        ["mkfs/ext4", "X-containerd.mkfs.size=99999999999p"],
        ["mkfs/ext4", "X-containerd.mkfs.size=1k"],
        ["mkfs/ext4", "X-containerd.mkfs.size"],
        ["mkfs/ext4", SIZE, "X-containerd.mkfs.fs=btrfs"],
        ["mkfs/ext4", SIZE, "X-containerd.mkfs.fs=../../bin/sh"],
        ["mkfs/ext4", SIZE, "X-containerd.mkfs.uuid=random"],
        ["mkfs/ext4", SIZE, "X-containerd.mkfs.other=1"],
        ["mkdir/bind", "X-containerd.mkdir.other=1"],
        ["mkdir/bind", `X-containerd.mkdir.path=${path}:999`],
        ["mkdir/bind", `X-containerd.mkdir.path=${path}:1777`],
        ["mkdir/bind", `X-containerd.mkdir.path=${path}:755:0`],
        ["mkdir/bind", `X-containerd.mkdir.path=${path}:755:a:b`],
        ["mkdir/bind", `X-containerd.mkdir.path=${path}:755:0:4294967295`],
        ["mkdir/bind", `X-containerd.mkdir.path=${path}:755:0:0:0`],
      ];
      for (const [type = "", ...options] of bad) {
        await expectCode(mounts.activate("a", [mountOf(type, path, ...options)]), Code.InvalidArgument);
      }
      expect(await readdir(directory)).toEqual([]);
    },
  },
  {
    name: "templates speak of source, target and mount point of the mounts made, and of nothing else",
    async run(subject) {
      const { mounts } = subject;
      const image = await subject.image("erofs", { a: "1" });
      const list = (template: string) => [
        mountOf("erofs", image, "ro", "loop"),
        mountOf("erofs", image, "ro", "loop"),
        mountOf("format/other", template, template),
      ];
      const info = await mounts.activate(
        "a",
        list("{{ source 0 }}|{{target 1}}|{{-  overlay 1 0 -}} |{{ overlay 0 1 }}"),
      );
      const [first = "", second = ""] = info.active.map(({ mountPoint }) => mountPoint);
      const text = `${info.active[0]?.source}||${second}:${first}|${first}:${second}`;
      expect(info.system).toEqual([mountOf("other", text, text)]);
      await mounts.deactivate("a");
      const bad = [
        "{{ mount 2 }}",
        "{{ mount -1 }}",
        "{{ overlay 0 2 }}",
        "{{ overlay 5 0 }}",
        "{{ overlay -1 0 }}",
        "{{ mount }}",
        "{{ mount 0 1 }}",
        "{{ mount 0.5 }}",
        "{{ mount 99999999999999999999 }}",
        "{{ mount 0",
        "{{ printf 1 }}",
        "{{ constructor 0 }}",
        "{{ . }}",
        "{{}}",
        "{{ mount {{ mount 0 }} }}",
      ];
      for (const each of bad) await expectCode(mounts.activate("a", list(each)), Code.InvalidArgument);
    },
  },
];
