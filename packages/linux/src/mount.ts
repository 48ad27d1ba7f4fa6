export { openUserNamespace } from "./mount/idmapped-mount.ts";
export { mountByContext } from "./mount/file-system-context.ts";
export {
  attachLoopDevice,
  detachLoopDevice,
  isLoopDeviceAttached,
  type LoopDevice,
  type LoopOptions,
} from "./mount/loop-device.ts";
export { findLoopDevices } from "./mount/loop-backing.ts";
export { mountAll } from "./mount/mount-all.ts";
export { isMountedBelow, isMountPoint, type MountInfo, parseMountInfo, readMountInfo } from "./mount/mount-info.ts";
export { type LinuxMount, parseMountOptions, type ParsedOptions } from "./mount/mount-options.ts";
export { type FileSystemStat, fsTypeName, statFs } from "./mount/stat-fs.ts";
export { createSubvolume, deleteSubvolume, snapshotSubvolume, subvolumeId } from "./mount/subvolume.ts";
export {
  mountTemporary,
  TEMPORARY_MOUNT_PREFIX,
  type TemporaryMount,
  type TemporaryMountOptions,
  withTemporaryMount,
} from "./mount/temporary-mount.ts";
export { unmount, unmountAll, type UnmountOptions, unmountRecursive } from "./mount/unmount.ts";
