export * from "./mount.ts";
export * from "./process.ts";
export * from "./files.ts";
export * from "./sockets.ts";
export * from "./terminal.ts";
