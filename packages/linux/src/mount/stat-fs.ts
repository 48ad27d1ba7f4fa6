import { statfsSync } from "node:fs";

/** What `statfs` says of the file system of a path. */
export interface FileSystemStat {
  /** The magic number. */
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: bigint;
  readonly blocksFree: bigint;
  readonly blocksAvailable: bigint;
  readonly files: bigint;
  readonly filesFree: bigint;
}

const NAMES: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"], // ext2 and ext3 have the same number
  [0x01021994, "tmpfs"],
  [0x794c7630, "overlay"],
  [0x9123683e, "btrfs"],
  [0x58465342, "xfs"],
  [0x2fc12fc1, "zfs"],
  [0xe0f5e1e2, "erofs"],
  [0x73717368, "squashfs"],
  [0x65735546, "fuse"],
  [0x6969, "nfs"],
  [0x9fa0, "proc"],
  [0x62656572, "sysfs"],
  [0x63677270, "cgroup2"],
  [0x27e0eb, "cgroup"],
  [0x858458f6, "ramfs"],
  [0xf2f52010, "f2fs"],
  [0x01021997, "9p"],
]);

/** This asks for the file system that holds a path. @throws ENOENT */
export function statFs(path: string): FileSystemStat {
  const stat = statfsSync(path, { bigint: true });
  return {
    // the kernel's long: magic numbers above 2^31 must not turn negative
    type: Number(BigInt.asUintN(32, stat.type)),
    blockSize: Number(stat.bsize),
    blocks: stat.blocks,
    blocksFree: stat.bfree,
    blocksAvailable: stat.bavail,
    files: stat.files,
    filesFree: stat.ffree,
  };
}

/** This names a file system by its magic number, `0x…` for one that is not known here. */
export function fsTypeName(type: number): string {
  return NAMES.get(type) ?? `0x${type.toString(16)}`;
}
