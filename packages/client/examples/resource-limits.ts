// Runs a container with limits, changes one, and sees what it uses: node resource-limits.ts <image>
import { createClient } from "@berth/client";
import { spawn } from "@berth/client/run";
import { readStats } from "@berth/client/stats";
import { encodeLinuxResources, withCpus, withMemoryLimit, withPidsLimit } from "@berth/oci/spec";

const [image = "docker.io/library/alpine:latest"] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
const MIB = 1024 * 1024;

await using client = createClient({ address });
await using container = await spawn(client, {
  id: `example-${process.pid}`,
  image,
  args: ["sh", "-c", "yes >/dev/null"],
  spec: () => [withMemoryLimit(64 * MIB), withCpus(0.5), withPidsLimit(20)],
});
const show = async (): Promise<void> => {
  const { memory, pids, cpu } = await readStats(client, container.id);
  console.log(`memory ${memory.usageBytes} of ${memory.limitBytes}, pids ${pids.current} of ${pids.limit}`);
  console.log(`cpu ${cpu.usageMs} ms`);
};
await show();
await client.tasks.task(container.id).update(encodeLinuxResources({ memory: { limit: 32 * MIB } }));
await show();
await container.kill("SIGKILL");
await container.finish();
