import { fchmodSync, fchownSync, fstatSync } from "node:fs";

import { systemErrorCode } from "@berth/errors";
import { lgetxattr, llistxattr, lsetxattr } from "@berth/linux/files";

/** overlayfs keeps its own marks here; they say something about the layer they are in. */
const OVERLAY_XATTRS = /^(?:trusted|user)\.overlay\./;

/** This gives an open directory the owner, mode and extended attributes of another one. */
export function copyUpDirectory(from: number, to: number): void {
  const stat = fstatSync(from);
  fchownSync(to, stat.uid, stat.gid);
  fchmodSync(to, stat.mode & 0o7777);
  ignoringUnsupported(() => {
    for (const [name, value] of copiedXattrs(from)) lsetxattr(to, name, value);
  });
}

/** This returns the extended attributes of an open directory that another layer's directory of the same path is to have. */
export function copiedXattrs(fd: number): ReadonlyMap<string, Uint8Array> {
  const xattrs = new Map<string, Uint8Array>();
  ignoringUnsupported(() => {
    for (const name of llistxattr(fd)) if (!OVERLAY_XATTRS.test(name)) xattrs.set(name, lgetxattr(fd, name));
  });
  return xattrs;
}

function ignoringUnsupported(call: () => void): void {
  try {
    call();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== "EOPNOTSUPP" && code !== "ENOTSUP") throw error;
  }
}
