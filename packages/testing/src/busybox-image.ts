import { readFile } from "node:fs/promises";

import type { TarEntryWithContent } from "@berth/archive";

import type { BuiltImage } from "./image-builder.ts";
import { buildImage } from "./image-builder.ts";
import { debianTool } from "./peers/debian-tools.ts";

/** Applets that the image has a link for. */
const APPLETS =
  "sh cat echo env false head hostname id kill ls mkdir mount nproc ps pwd rm seq sleep stat stty tail touch true tty wc yes".split(
    " ",
  );

/** Name of the image that {@link busyboxImage} makes. */
export const BUSYBOX_IMAGE = "example.org/berth/busybox:1";

/** This makes an image of a static busybox (Debian's, when no path is given): `/bin/sh` and a few applets, users `root` and `guest`. */
export async function busyboxImage(name: string = BUSYBOX_IMAGE, path?: string): Promise<BuiltImage> {
  const busybox = await readFile(path ?? debianTool("busybox"));
  const directory = (path: string, mode = 0o755): TarEntryWithContent => ({ path, type: "directory", mode });
  const file = (path: string, content: Uint8Array, mode = 0o644): TarEntryWithContent => ({
    path,
    type: "file",
    mode,
    size: content.length,
    content,
  });
  const text = (lines: readonly string[]): Uint8Array => new TextEncoder().encode(`${lines.join("\n")}\n`);
  return buildImage({
    name,
    layers: [
      [
        ...["bin/", "dev/", "etc/", "proc/", "root/", "run/", "sys/", "usr/", "var/"].map((path) => directory(path)),
        directory("tmp/", 0o1777),
        file("bin/busybox", busybox, 0o755),
        ...APPLETS.map((applet): TarEntryWithContent => ({
          path: `bin/${applet}`,
          type: "symlink",
          linkPath: "busybox",
        })),
        file("etc/passwd", text(["root:x:0:0:root:/root:/bin/sh", "guest:x:405:100:guest:/:/bin/sh"])),
        file("etc/group", text(["root:x:0:", "users:x:100:guest"])),
      ],
    ],
    config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
  });
}
