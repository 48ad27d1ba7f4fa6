import { isNotFound } from "@berth/errors";
import { all, definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import {
  EventPlugin,
  GrpcPlugin,
  SandboxControllerPlugin,
  SandboxStorePlugin,
  ShimPlugin,
} from "@berth/plugin-core/types";

import { Controller, createSandboxControllersService } from "./service.ts";
import { ShimSandboxController } from "./shim-controller.ts";

/** `io.containerd.sandbox.controller.v1.shim`: a shim of its own for each sandbox. */
export const shimSandboxControllerPlugin = definePlugin({
  type: SandboxControllerPlugin,
  id: "shim",
  requires: { shims: one(ShimPlugin), sandboxes: one(SandboxStorePlugin) },
  init: async ({ plugins: { shims, sandboxes }, rootDir, stateDir, resources, signal }) => {
    const isWanted = async (...[namespace, id]: [Parameters<typeof sandboxes>[0], string]) => {
      try {
        await sandboxes(namespace).get(id);
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    };
    const bundles = resources.use(await shims.openBundles({ rootDir, stateDir, isWanted, signal }));
    return new ShimSandboxController(bundles);
  },
});

/** `io.containerd.grpc.v1.sandbox-controllers`. */
export const sandboxControllersServicePlugin = definePlugin({
  type: GrpcPlugin,
  id: "sandbox-controllers",
  requires: { controllers: all(SandboxControllerPlugin), events: one(EventPlugin) },
  init: ({ plugins }) => [serviceRegistration(Controller, createSandboxControllersService(plugins))],
});
