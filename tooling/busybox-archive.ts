// Writes an OCI archive of an image around a static busybox: node tooling/busybox-archive.ts <busybox> <archive> <name>.
import { writeFile } from "node:fs/promises";

import { busyboxImage } from "@berth/testing";

const [busybox, archive, name] = process.argv.slice(2);
if (!busybox || !archive || !name) throw new Error("usage: busybox-archive.ts <busybox> <archive> <name>");
await writeFile(archive, (await busyboxImage(name, busybox)).archive);
