import { bind, check } from "../libc.ts";

const native = {
  ioctl: bind<[number, bigint, Uint32Array], number>("ioctl", "int", ["int", "ulong", "void *"]),
};

const FS_IOC_SHUTDOWN = 0x8004587dn;

/** What still reaches the disk: everything; the journal; not even that, as when the power fails. */
export type ShutdownMode = "all" | "journal" | "nothing";

const FLAGS: Readonly<Record<ShutdownMode, number>> = { all: 0, journal: 1, nothing: 2 };

/**
 * This stops the ext4 or xfs file system that holds the descriptor, at once: from now on everything on it fails with EIO, until
 * it is unmounted and mounted again, when its journal is replayed. For tests of what a power cut leaves.
 * @throws ENOTTY - the file system cannot be shut down
 */
export function shutdownFileSystem(descriptor: number, mode: ShutdownMode): void {
  check(native.ioctl(descriptor, FS_IOC_SHUTDOWN, Uint32Array.of(FLAGS[mode])), "ioctl");
}
