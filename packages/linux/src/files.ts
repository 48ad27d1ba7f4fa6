export {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  descriptorPath,
  fchmodat,
  fchownat,
  lchown,
  linkat,
  lutimes,
  mkdirat,
  mknodat,
  O_CLOEXEC,
  O_PATH,
  openat2,
  type OpenHow,
  readlinkat,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  renameat2,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  symlinkat,
  unlinkat,
  utimensat,
} from "./files/at-calls.ts";
export {
  type AllocateOptions,
  closeFd,
  dup,
  fallocate,
  flock,
  type LockOptions,
  pipe2,
  type PipeOptions,
  setNonBlocking,
  syncfs,
  unlock,
} from "./files/descriptors.ts";
export { major, makedev, minor, mkfifo, mknod } from "./files/device-number.ts";
export { setImmutable } from "./files/inode-flags.ts";
export { removeTree } from "./files/remove-tree.ts";
export { shutdownFileSystem, type ShutdownMode } from "./files/shutdown-file-system.ts";
export { copySparse } from "./files/sparse-copy.ts";
export { SyncGroup } from "./files/sync-group.ts";
export { lfindxattr, lgetxattr, llistxattr, lremovexattr, lsetxattr, type SetXattrOptions } from "./files/xattr.ts";
export { AT_FDCWD, type NativePath } from "./libc.ts";
export type { LinuxError } from "./system-error.ts";
