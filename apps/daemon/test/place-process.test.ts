import { existsSync, readFileSync } from "node:fs";
import { rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { cgroupHierarchies, cgroupMode, parseCgroupFile } from "@berth/linux/cgroups";
import { launcher, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

const isUnified = cgroupMode() === "unified";
// On a machine with both versions, the tree of version 2 has no controllers, and nobody is moved there.
const hierarchies = cgroupHierarchies().filter(({ version }) => isUnified || version === 1);

/** A path below the cgroup of this process, and so of whoever limits it; its directories are removed in the end. */
function childCgroup(): AsyncDisposable & { readonly path: string } {
  const own = parseCgroupFile(readFileSync("/proc/self/cgroup", "utf8"));
  const path = join((isUnified ? own.get("") : own.get("memory")) ?? "/", `berth-test-${process.pid}`, "inner");
  const made: string[] = [];
  for (const { mountPoint } of hierarchies) {
    for (let directory = join(mountPoint, path); !existsSync(directory); directory = dirname(directory))
      made.push(directory);
  }
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      for (const directory of made) {
        if (existsSync(directory))
          await expect
            .poll(() =>
              rmdir(directory).then(
                () => "gone",
                () => "busy",
              ),
            )
            .toBe("gone");
      }
    },
  };
}

describe("the place of the daemon", () => {
  it(
    "is in the cgroup that the configuration names, in every hierarchy, again after a restart",
    { timeout: 60_000 },
    async () => {
      await using cgroup = childCgroup();
      {
        await using daemon = await startBerthd({ config: `[cgroup]\n  path = "${cgroup.path}"\n` });
        for (let i = 0; i < 2; i += 1) {
          const cgroups = parseCgroupFile(readFileSync(`/proc/${daemon.pid}/cgroup`, "utf8"));
          if (!isUnified) cgroups.delete("");
          expect(new Set(cgroups.values())).toEqual(new Set([cgroup.path]));
          if (i === 0) await daemon.restart();
        }
        expect((await daemon.ctr(["version"])).code).toBe(0);
      }
    },
  );

  it.each(["/", "/../outside", "/a/../../b"])("is not in the cgroup %j: the daemon does not start", async (path) => {
    await using directory = await temporaryDirectory("cgroup");
    const file = join(directory.path, "config.toml");
    await writeFile(file, `version = 4\n[cgroup]\n  path = "${path}"\n`);
    const places = ["--root", join(directory.path, "root"), "--state", join(directory.path, "state")];
    const { code, stderr } = await runProgram(launcher("berthd"), ["-c", file, ...places]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/berthd: join cgroup /);
  });

  it("has the OOM score of the configuration", { timeout: 60_000 }, async () => {
    const score = Math.min(1000, Number(readFileSync("/proc/self/oom_score_adj", "utf8")) + 7);
    await using daemon = await startBerthd({ config: `oom_score = ${score}\n` });
    expect(Number(readFileSync(`/proc/${daemon.pid}/oom_score_adj`, "utf8"))).toBe(score);
  });

  it("boots with a score that it may not have, and says so", { timeout: 60_000 }, async () => {
    await using daemon = await startBerthd({ config: `oom_score = -999\n` });
    const score = Number(readFileSync(`/proc/${daemon.pid}/oom_score_adj`, "utf8"));
    // With CAP_SYS_RESOURCE it may.
    if (score !== -999) expect(await daemon.log()).toContain("failed to change OOM score");
    expect((await daemon.ctr(["version"])).code).toBe(0);
  });
});
