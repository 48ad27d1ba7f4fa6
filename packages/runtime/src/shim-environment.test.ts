import { expect, it } from "vitest";

import { shimEnvironment } from "./shim-environment.ts";

it("shimEnvironment hides what is the daemon's own, and lets the configuration win", () => {
  const inherited = {
    PATH: "/bin",
    NOTIFY_SOCKET: "x",
    LISTEN_FDS: "1",
    NODE_OPTIONS: "--x",
    GOMAXPROCS: "9",
    UNSET: undefined,
  };
  const options = {
    grpcAddress: "/g",
    ttrpcAddress: "/t",
    namespace: "n",
    extra: ["SCHED_CORE=1", "PATH=/a=b", "broken"],
  };
  expect({ ...shimEnvironment(inherited, options) }).toEqual({
    PATH: "/a=b",
    GOMAXPROCS: "2",
    MAX_SHIM_VERSION: "2",
    TTRPC_ADDRESS: "/t",
    GRPC_ADDRESS: "/g",
    NAMESPACE: "n",
    SCHED_CORE: "1",
  });
});
