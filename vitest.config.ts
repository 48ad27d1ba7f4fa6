import { availableParallelism } from "node:os";

import { defineConfig } from "vitest/config";

const conditions = ["@berth/source", "node", "import", "module", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ["{packages,apps}/*/{src,test}/**/*.test.ts", "tooling/test/**/*.test.ts"],
    pool: "forks",
    // They wait for daemons, shims and disks most of the time: on two processors, too, two files are run side by side.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    execArgv: ["--conditions=@berth/source"],
    // The tests run real daemons, shims and kernels side by side on few processors. A test that needs its second try is shown as
    // such ("retry x1", and by name at the end of `npm test`): that is a fault to look for, not to get used to.
    retry: 1,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
