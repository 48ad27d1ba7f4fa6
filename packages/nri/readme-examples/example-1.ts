
import { runNriPlugin } from "@berth/nri/stub";

const plugin = await runNriPlugin(
  {
    synchronize: (pods, containers) => console.log(pods.length, "pods,", containers.length, "containers"),
    createContainer: ({ container }) => ({ adjust: { env: [{ key: "CONTAINER", value: container?.id ?? "" }] } }),
  },
  { name: "example", index: "10", socketPath: "/run/berth/nri/nri.sock" },
);
await plugin.closed;

export {};
