import { expect, it } from "vitest";

import { errorClass } from "../../test/thrown.ts";
import {
  MS_BIND,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_REC,
  MS_REMOUNT,
  MS_STRICTATIME,
  parseMountOptions,
} from "./mount-options.ts";

it.each<[readonly string[], number, readonly string[]]>([
  [[], 0, []],
  [["defaults", ""], 0, []],
  [["rbind", "ro"], MS_BIND | MS_REC | MS_RDONLY, []],
  [["ro", "rw"], 0, []],
  [["bind", "nosuid", "nodev", "noexec", "suid"], MS_BIND | MS_NODEV | MS_NOEXEC, []],
  [["noatime", "strictatime", "remount"], MS_NOATIME | MS_STRICTATIME | MS_REMOUNT, []],
  [["nosuid", "size=1m", "mode=755"], MS_NOSUID, ["size=1m", "mode=755"]],
  [["rprivate"], 0, ["rprivate"]],
  [["lowerdir=/a:/b", "index=off"], 0, ["lowerdir=/a:/b", "index=off"]],
])("parseMountOptions(%j) has flags %i and data %j", (options, flags, data) => {
  expect(parseMountOptions(options)).toMatchObject({ flags, data, loop: false, directIo: false });
});

it("parseMountOptions keeps loop and id maps for itself", () => {
  expect(parseMountOptions(["loop", "direct-io", "uidmap=0:1:2", "gidmap=0:3:4", "ro"])).toEqual({
    flags: MS_RDONLY,
    data: [],
    loop: true,
    directIo: true,
    uidMap: "0:1:2",
    gidMap: "0:3:4",
  });
});

it.each([[["X-containerd.mkdir.path=/x"]], [["uidmap=0:1:2"]], [["gidmap=0:1:2"]], [["a\0b"]]])(
  "parseMountOptions(%j) is refused",
  (options) => {
    expect(errorClass(() => parseMountOptions(options))).toBe("invalid_argument");
  },
);
