import { defineConfig } from "vitest/config";

const conditions = ["@berth/source", "node", "import", "module", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ["{packages,apps}/*/{src,test}/**/*.test.ts", "tooling/test/**/*.test.ts"],
    pool: "forks",
    execArgv: ["--conditions=@berth/source"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
