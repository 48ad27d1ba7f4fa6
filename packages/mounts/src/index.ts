export { createErofsHandler } from "./handlers/erofs.ts";
export { createLoopHandler } from "./handlers/loop.ts";
export { LocalMountManager, type MountManagerOptions } from "./local-mount-manager.ts";
