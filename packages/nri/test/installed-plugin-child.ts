// A pre-installed plugin, as the runtime starts it: it writes what it sees into the file that its configuration names.
import { appendFileSync } from "node:fs";

import { runNriPlugin } from "@berth/nri/stub";

let file = "/dev/null";
const note = (entry: object): void => appendFileSync(file, `${JSON.stringify(entry)}\n`);

const plugin = await runNriPlugin({
  configure: ({ config, runtimeName, runtimeVersion }) => {
    file = config.trim();
    const { NRI_PLUGIN_NAME, NRI_PLUGIN_IDX, NRI_PLUGIN_SOCKET } = process.env;
    const environment = [NRI_PLUGIN_NAME, NRI_PLUGIN_IDX, NRI_PLUGIN_SOCKET];
    note({ pid: process.pid, environment, runtimeName, runtimeVersion });
  },
  synchronize: (pods, containers) => note({ pods: pods.length, containers: containers.length }),
  removeContainer: ({ container }) => note({ removed: container?.id }),
  shutdown: () => note({ shutdown: true }),
});
await plugin.closed;
