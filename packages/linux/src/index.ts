export * from "./mount.ts";
export * from "./process.ts";
export * from "./files.ts";
export * from "./sockets.ts";
export * from "./terminal.ts";
export * from "./cgroups.ts";
export * from "./memory.ts";
export * from "./memory-events.ts";
