import { copyFile, mkdir, open, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import { mountOf, type MountSubject, readThrough } from "./mounts-subject.ts";
import type { ConformanceCase } from "./run-conformance.ts";

async function names(subject: MountSubject, ...filters: string[]): Promise<string[]> {
  return (await Array.fromAsync(subject.mounts.list({ filters }))).map(({ name }) => name);
}

/** Rules of activations: what is made, what is left, and for how long. */
export const mountActivationCases: readonly ConformanceCase<MountSubject>[] = [
  {
    name: "a list that needs nothing is unimplemented, whatever its name",
    async run({ mounts, directory }) {
      await expectCode(mounts.activate("a", []), Code.Unimplemented);
      await expectCode(mounts.activate("a", [mountOf("bind", directory, "rbind")]), Code.Unimplemented);
      await expectCode(mounts.activate("a", [mountOf("other/tmpfs", "none")]), Code.Unimplemented);
      await expectCode(mounts.activate("a", [], { temporary: true }), Code.Unimplemented);
      await expectCode(mounts.info("a"), Code.NotFound);
    },
  },
  {
    name: "what comes before an overlay of templates is made, the overlay is left",
    async run(subject) {
      const { mounts } = subject;
      const lower = await subject.image("erofs", { both: "lower", lower: "1" });
      const upper = await subject.image("ext4", { both: "upper" });
      const list = [
        mountOf("ext4", upper, "ro", "loop"),
        mountOf("erofs", lower, "ro", "loop"),
        mountOf("format/overlay", "overlay", "lowerdir={{ mount 0 }}:{{ mount 1 }}"),
      ];
      const info = await mounts.activate("a", list, { labels: new Map([["k", "v"]]) });
      expect(info.name).toBe("a");
      expect(info.labels).toEqual(new Map([["k", "v"]]));
      expect(info.active.map(({ type }) => type)).toEqual(["ext4", "erofs"]);
      const [first, second] = info.active;
      expect(info.system).toEqual([
        mountOf("overlay", "overlay", `lowerdir=${first?.mountPoint}:${second?.mountPoint}`),
      ]);
      expect(Date.now() - (first?.mountedAt ?? 0)).toBeLessThan(60_000);
      expect(await readThrough(subject, info, "both")).toBe("upper");
      expect(await readThrough(subject, info, "lower")).toBe("1");
      expect(await mounts.info("a")).toEqual(info);
      await mounts.deactivate("a");
      await expect(stat(first?.mountPoint ?? "")).rejects.toThrow("ENOENT");
    },
  },
  {
    name: "deactivate takes away all mounts and devices, and frees the name",
    async run(subject) {
      const { mounts } = subject;
      const before = await subject.machine();
      const [ext4, erofs] = [await subject.image("ext4", { a: "1" }), await subject.image("erofs", { b: "1" })];
      const list = [
        mountOf("loop", ext4, "ro"),
        mountOf("format/ext4", "{{ mount 0 }}", "ro"),
        mountOf("erofs", erofs, "ro", "loop"),
        mountOf("format/overlay", "overlay", "lowerdir={{ overlay 1 2 }}"),
      ];
      for (let round = 0; round < 2; round++) {
        const info = await mounts.activate("a", list);
        expect(await readThrough(subject, info, "a")).toBe("1");
        expect(await readThrough(subject, info, "b")).toBe("1");
        expect((await subject.machine()).loopFiles).toContain(ext4);
        await mounts.deactivate("a");
        expect(await subject.machine()).toEqual(before);
        await expectCode(mounts.info("a"), Code.NotFound);
        await expectCode(mounts.deactivate("a"), Code.NotFound);
      }
    },
  },
  {
    name: "a list that is made whole leaves a bind of the last mount, temporary ones always",
    async run(subject) {
      const { mounts } = subject;
      const image = await subject.image("erofs", { a: "1" });
      const alone = await mounts.activate("alone", [mountOf("erofs", image, "ro", "loop")]);
      const upper = join(subject.directory, "upper");
      await mkdir(upper);
      await writeFile(join(upper, "b"), "2");
      const list = [
        mountOf("erofs", image, "ro", "loop"),
        mountOf("format/overlay", "overlay", `lowerdir=${upper}:{{ mount 0 }}`),
      ];
      const whole = await mounts.activate("whole", list, { temporary: true });
      const plain = await mounts.activate("plain", [mountOf("bind", upper, "rbind")], { temporary: true });
      for (const info of [alone, whole, plain]) {
        const last = info.active.at(-1);
        expect(info.system).toEqual([mountOf("bind", last?.mountPoint ?? "", "rbind")]);
      }
      expect(whole.active).toHaveLength(2);
      expect(await readThrough(subject, alone, "a")).toBe("1");
      expect(await readThrough(subject, whole, "a")).toBe("1");
      expect(await readThrough(subject, plain, "b")).toBe("2");
      for (const name of ["alone", "whole", "plain"]) await mounts.deactivate(name);
    },
  },
  {
    name: "a name is taken once per namespace, also by activations at the same time",
    async run(subject) {
      const { mounts, others } = subject;
      const list = [mountOf("erofs", await subject.image("erofs", { a: "1" }), "ro", "loop")];
      const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => mounts.activate("a", list)));
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") await expectCode(Promise.reject(outcome.reason), Code.AlreadyExists);
      }
      await others.activate("a", list, { labels: new Map([["other", "yes"]]) });
      expect((await mounts.info("a")).labels.size).toBe(0);
      await mounts.deactivate("a");
      expect((await others.info("a")).labels.get("other")).toBe("yes");
      await others.deactivate("a");
    },
  },
  {
    name: "list is in order of the names and filters by name and labels",
    async run(subject) {
      const { mounts } = subject;
      const list = [mountOf("erofs", await subject.image("erofs", {}), "ro", "loop")];
      await mounts.activate("b", list, { labels: new Map([["k.l", "v"]]) });
      await mounts.activate("a", list);
      await subject.others.activate("c", list);
      expect(await names(subject)).toEqual(["a", "b"]);
      expect(await names(subject, "name==a")).toEqual(["a"]);
      expect(await names(subject, 'labels."k.l"==v')).toEqual(["b"]);
      await expectCode(names(subject, "name="), Code.InvalidArgument);
      for (const name of ["a", "b"]) await mounts.deactivate(name);
      await subject.others.deactivate("c");
    },
  },
  {
    name: "an activation that fails leaves nothing, and its name free",
    async run(subject) {
      const { mounts, directory } = subject;
      const before = await subject.machine();
      const image = await subject.image("ext4", { a: "1" });
      const notAnImage = join(directory, "text");
      await writeFile(notAnImage, "no image");
      const good = [mountOf("loop", image), mountOf("format/ext4", "{{ mount 0 }}", "rw")];
      const bad = [
        mountOf("erofs", notAnImage, "ro", "loop"),
        mountOf("erofs", join(directory, "missing"), "ro", "loop"),
        mountOf("ext4", image, "loop", "X-containerd.anything"),
        mountOf("format/overlay", "overlay", "lowerdir={{ mount 7 }}"),
      ];
      for (const each of bad) {
        const list = [...good, each, mountOf("format/bind", "{{ mount 1 }}", "rbind")];
        await expect(mounts.activate("a", list)).rejects.toThrow();
        expect(await subject.machine()).toEqual(before);
      }
      const missing = mountOf("ext4", join(directory, "missing"), "ro", "loop");
      await expectCode(mounts.activate("a", [...good, missing], { temporary: true }), Code.FailedPrecondition);
      await mounts.activate("a", good);
      await mounts.deactivate("a");
    },
  },
  {
    name: "deactivate of mounts in use is failed_precondition; the name is free, the next collection takes them away",
    async run(subject) {
      const { mounts } = subject;
      const before = await subject.machine();
      const image = await subject.image("erofs", { a: "1" });
      const list = [mountOf("erofs", image, "ro", "loop")];
      const info = await mounts.activate("a", list);
      {
        await using _user = await open(join(info.active[0]?.mountPoint ?? "", "a"));
        await expectCode(mounts.deactivate("a"), Code.FailedPrecondition);
      }
      const again = await mounts.activate("a", list);
      await subject.collect();
      expect((await subject.machine()).mountPoints).toHaveLength(before.mountPoints.length + 1);
      expect(await readThrough(subject, again, "a")).toBe("1");
      await mounts.deactivate("a");
      expect(await subject.machine()).toEqual(before);
    },
  },
  {
    name: "mount points of long lists are taken away in order too",
    async run(subject) {
      const { mounts } = subject;
      const before = await subject.machine();
      const image = await subject.image("erofs", { a: "1" });
      const layers = Array.from({ length: 12 }, () => mountOf("erofs", image, "ro", "loop"));
      const bind = mountOf("format/bind", "{{ mount 11 }}", "rbind");
      const info = await mounts.activate("a", [...layers, bind, mountOf("format/bind", "{{ mount 12 }}", "rbind")]);
      expect(info.active).toHaveLength(13);
      expect(await readThrough(subject, info, "a")).toBe("1");
      await mounts.deactivate("a");
      expect(await subject.machine()).toEqual(before);
    },
  },
  {
    name: "an image inside of an image is mounted, and taken away before what it lies in",
    async run(subject) {
      const { mounts } = subject;
      const before = await subject.machine();
      const outer = await subject.image("ext4", {});
      const inner = await subject.image("erofs", { a: "1" });
      const device = [mountOf("loop", outer), mountOf("format/ext4", "{{ mount 0 }}")];
      const bind = mountOf("format/bind", "{{ mount 1 }}", "rbind");
      const filling = await mounts.activate("a", [...device, bind]);
      await copyFile(inner, join(filling.active[1]?.mountPoint ?? "", "inner"));
      await mounts.deactivate("a");
      const list = [...device, mountOf("format/erofs", "{{ mount 1 }}/inner", "ro", "loop")];
      const info = await mounts.activate("a", list);
      expect(await readThrough(subject, info, "a")).toBe("1");
      await mounts.deactivate("a");
      expect(await subject.machine()).toEqual(before);
    },
  },
  {
    name: "names and labels have limits, and nothing can be updated",
    async run(subject) {
      const { mounts } = subject;
      const list = [mountOf("erofs", await subject.image("erofs", {}), "ro", "loop")];
      await expectCode(mounts.activate("", list), Code.InvalidArgument);
      const labels = new Map([["k", "v".repeat(4096)]]);
      await expectCode(mounts.activate("a", list, { labels }), Code.InvalidArgument);
      const long = `with spaces/and:anything ${"n".repeat(3000)}`;
      const info = await mounts.activate(long, list);
      expect(await names(subject)).toEqual([long]);
      await expectCode(mounts.update(info), Code.Unimplemented);
      await mounts.deactivate(long);
    },
  },
];
