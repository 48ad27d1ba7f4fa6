import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

import type { BuiltImage, PeerDaemon } from "@berth/testing";
import { busyboxImage, debianTool, sha256, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { SideBySide } from "./side-by-side.ts";

const LONG = { timeout: 20_000 };

/** What is done with a daemon, in this order, and means the same on both. */
const scenarios: Readonly<Record<string, string>> = {
  "shows images": `
    images ls
    images ls -q name~=busybox
    images check
    images usage IMAGE
    images inspect IMAGE
    images label IMAGE a=b c=d
    images ls labels.a==b
    images label IMAGE a= c=
    images rm none:1`,
  "tags images": `
    images tag IMAGE x:1
    images tag IMAGE x:1
    images tag --local IMAGE x:1
    images tag --force IMAGE x:2 x:3
    images tag none:1 x:4
    images ls -q
    images rm x:1 x:2 x:3`,
  "converts images": `
    images convert --oci IMAGE converted:1
    images convert --uncompress IMAGE converted:2
    images convert --platform linux/arm64 IMAGE converted:3
    images ls
    images usage converted:2
    images rm --sync converted:1 converted:2 converted:3`,
  "mounts images": `
    images mount IMAGE DIR/ID
    images mount --rw IMAGE DIR/ID
    snapshots ls
    images unmount DIR/ID
    images unmount --rm DIR/ID
    snapshots ls`,
  "reads and keeps content": `
    content ls -q
    content get MANIFEST
    content get sha256:12
    content label MANIFEST a=b
    content label MANIFEST a=
    content active
    content rm NOTHING
    content prune references --dry`,
  "makes and describes snapshots": `
    snapshots prepare one CHAIN
    snapshots prepare one
    snapshots prepare two none
    snapshots prepare --mounts two CHAIN
    snapshots mounts /mnt one
    snapshots info one
    snapshots usage
    snapshots usage -b one
    snapshots label one a=b
    snapshots diff --media-type application/vnd.oci.image.layer.v1.tar one
    snapshots commit three one
    snapshots tree
    snapshots rm CHAIN
    snapshots rm three two
    snapshots unpack MANIFEST
    snapshots ls
    snapshots --snapshotter none ls`,
  "keeps leases and namespaces": `
    leases create --id l1 a=b
    leases create --id l1
    leases ls -q
    leases rm l1
    leases rm l1
    namespaces create team a=b
    namespaces create team
    namespaces label team a=c
    namespaces ls
    namespaces rm team
    namespaces rm team
    namespaces rm default
    -n no/good images ls`,
  "runs containers": `
    run --rm IMAGE ID echo hello
    run --rm IMAGE ID sh -c 'echo no >&2; exit 7'
    run --rm --cwd /tmp --user guest --env A=b --hostname h IMAGE ID sh -c 'pwd; id; env; hostname'
    run --rm --read-only IMAGE ID touch /x
    run --rm --memory-limit 50000000 --cpus 0.5 --cpu-shares 100 IMAGE ID cat /proc/self/cgroup
    run --rm --cap-add CAP_SYS_ADMIN --cap-drop CAP_KILL --seccomp IMAGE ID grep Cap /proc/self/status
    run --rm --privileged --net-host --allow-new-privs IMAGE ID sh -c 'cat /proc/self/uid_map; ls /dev/fuse'
    run --rm --mount type=bind,src=DIR,dst=/mnt,options=rbind:ro IMAGE ID touch /mnt/x
    run --rm --runc-root DIR/runc-ID --no-pivot IMAGE ID true
    run --rm --log-uri file://DIR/log-ID IMAGE ID echo logged
    run --rm --null-io IMAGE ID echo nothing
    run --rm --snapshotter native IMAGE ID true
    run --rm --rootfs DIR/rootfs-ID ID /bin/busybox echo own
    run --rm --rootfs /nonexistent ID true
    run --rm --platform linux/arm64 IMAGE ID true
    run --rm --pid-file DIR/pid-ID IMAGE ID /none
    containers ls -q
    tasks ls -q`,
  "works on tasks": `
    run -d --label k=v IMAGE ID sleep 1000
    run -d IMAGE ID sleep 1
    tasks ls
    tasks exec --exec-id e1 --cwd /tmp --user guest ID sh -c 'pwd; id; exit 3'
    tasks exec -d --exec-id e2 ID sleep 1000
    tasks ps ID
    tasks kill --exec-id e2 -s SIGKILL ID
    tasks rm --exec-id e2 ID
    tasks pause ID
    tasks ls
    tasks exec --exec-id e3 ID true
    tasks resume ID
    tasks start ID
    containers ls
    containers ls labels.k==v
    containers info ID
    containers info --spec ID
    containers label ID z=1
    containers rm ID
    tasks kill -s none ID
    tasks kill -s SIGKILL ID`,
  "clears up after tasks": `
    tasks kill ID
    tasks rm ID
    tasks rm ID
    tasks metrics ID
    containers rm ID
    containers rm ID
    containers create IMAGE ID2 sh -c 'exit 4'
    tasks start ID2
    containers rm ID2
    containers ls -q
    snapshots ls`,
  "has nothing to warn of": `
    deprecations list
    sandboxes ls
    sandboxes run DIR/sandbox.json ID
    sandboxes rm -f ID
    sandboxes ls
    oci spec
    content active`,
};

describe("Go ctr 2 on berthd and on containerd 2", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let pair: SideBySide;
  let image: BuiltImage;
  let directory: string;
  const both = (): readonly PeerDaemon[] => [pair.berthd, pair.containerd];

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("go-ctr-2")).path;
    pair = stack.use(await SideBySide.start());
    image = await busyboxImage();
    const [chain = ""] = image.diffIds;
    const nothing = sha256(Buffer.from("not there"));
    pair.define({ IMAGE: image.name, MANIFEST: image.manifest.digest, CHAIN: chain, NOTHING: nothing, DIR: directory });
    for (const prefix of both().map((daemon) => pair.idOf(daemon))) {
      await mkdir(join(directory, prefix));
      for (const path of ["bin", "proc", "dev", "sys"])
        await mkdir(join(directory, `rootfs-${prefix}`, path), { recursive: true });
      await cp(debianTool("busybox"), join(directory, `rootfs-${prefix}`, "bin/busybox"));
    }
    // The index of the archive has no name, and goes sooner or later.
    for (const daemon of both()) await daemon.ctr(["images", "rm", "--sync", "none:1"]);
  });
  afterAll(() => stack.disposeAsync());

  it.each(Object.entries(scenarios))("%s", async (_, lines) => {
    for (const line of lines.trim().split(/\n\s*/)) await pair.same(line);
    await expect.poll(async () => (await pair.run(pair.berthd, "tasks ls")).stdout, LONG).not.toContain(" RUNNING");
  });

  it("measures tasks by the same names", async () => {
    const names = async (daemon: PeerDaemon): Promise<readonly string[]> => {
      expect((await pair.run(daemon, "run -d IMAGE ID sleep 1000")).code).toBe(0);
      const { stdout } = await pair.run(daemon, "tasks metrics ID");
      await pair.run(daemon, "tasks rm -f ID");
      await pair.run(daemon, "containers rm ID");
      return stdout.split("\n").map((line) => line.split(" ")[0] ?? "");
    };
    const [ours, theirs] = [await names(pair.berthd), await names(pair.containerd)];
    expect(ours).toContain("pids.current");
    expect(ours).toEqual(theirs);
  });

  it("has the log that was asked for, and what the container wrote to it", async () => {
    for (const daemon of both()) {
      const { code } = await pair.run(daemon, "run --rm --log-uri file://DIR/log-ID IMAGE ID echo logged");
      expect(code).toBe(0);
      expect(await readFile(join(directory, `log-${pair.idOf(daemon)}`), "utf8")).toBe("logged\nlogged\n");
    }
  });

  it.each([
    ["through the transfer service", "", (archive: Uint8Array) => archive],
    ["through the transfer service, compressed by gzip", "", (archive: Uint8Array) => gzipSync(archive)],
    ["through the transfer service, compressed by zstd", "", (archive: Uint8Array) => zstdCompressSync(archive)],
    ["by the client", "--local", (archive: Uint8Array) => archive],
  ])("imports and exports %s: the same names, the same bytes", async (_, flag, pack) => {
    const input = pack(image.archive);
    const exported: string[] = [];
    for (const daemon of both()) {
      const file = `${directory}/exported-${pair.idOf(daemon)}`;
      const lines = [`images import ${flag} -`, `images export ${flag} ${file} IMAGE`];
      for (const line of lines)
        expect({ line, ...(await pair.run(daemon, line, { input })) }).toMatchObject({ code: 0 });
      exported.push(sha256(await readFile(file)));
    }
    expect(exported[0]).toBe(exported[1]);
    await pair.same("images ls");
    await pair.same("images check");
  });

  it.each([
    "images import --local --base-name example.org/other --digests DIR/busybox.tar",
    "images import --platform linux/arm64 --no-unpack DIR/busybox.tar",
    "images import DIR/junk",
    "images import DIR/none",
    "images export --platform linux/arm64 DIR/ID/out IMAGE",
    "images export --all-platforms DIR/ID/out IMAGE",
    "images export DIR/ID/out none:1",
  ])("%s", async (line) => {
    await writeFile(join(directory, "busybox.tar"), image.archive);
    await writeFile(join(directory, "junk"), "junk");
    const [ours, theirs] = [await pair.run(pair.berthd, line), await pair.run(pair.containerd, line)];
    expect(ours.code).toBe(theirs.code);
    await pair.same("images ls");
  });
});
