import { expect, it } from "vitest";

import { childEnvironment } from "./child-environment.ts";

it("childEnvironment leaves out what is meant for this process alone", () => {
  const kept = { PATH: "/bin", NOTIFY_SOCKETS: "x", XNODE_OPTIONS: "x", listen_fds: "x" };
  const service = { NOTIFY_SOCKET: "x", LISTEN_FDS: "1", LISTEN_PID: "2", LISTEN_FDNAMES: "x", UNSET: undefined };
  const env = { ...kept, ...service, NODE_OPTIONS: "--x" };
  expect({ ...childEnvironment({ env }) }).toEqual(kept);
  expect({ ...childEnvironment({ env, sameProgram: true }) }).toEqual({ ...kept, NODE_OPTIONS: "--x" });
});
