import { getVersion } from "@berth/client/version";

import { defineCommand } from "../cli/command.ts";
import { print } from "../output/print.ts";
import { REVISION, VERSION } from "../version.ts";

export const version = defineCommand({
  usage: "",
  flags: {},
  async run({ session }) {
    print(`Client:\n  Version:  ${VERSION}\n  Revision: ${REVISION}\n  Node version: ${process.version}\n\n`);
    const transport = session.transport();
    const { signal } = session;
    const [server, { uuid }] = await Promise.all([getVersion(transport, { signal }), session.server()]);
    print(`Server:\n  Version:  ${server.version}\n  Revision: ${server.revision}\n  UUID: ${uuid}\n`);
    if (server.version !== VERSION) process.stderr.write("WARNING: version mismatch\n");
    if (server.revision !== REVISION) process.stderr.write("WARNING: revision mismatch\n");
  },
});
