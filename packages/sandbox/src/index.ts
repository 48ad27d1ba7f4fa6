export { ShimSandboxController } from "./shim-controller.ts";
