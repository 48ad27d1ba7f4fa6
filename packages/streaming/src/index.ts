export { LocalStreamManager } from "./stream-manager.ts";
