import { BUSYBOX_IMAGE, busyboxImage, startBerthd } from "@berth/testing";
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { readdirSync, readFileSync } from "node:fs";
await using d = await startBerthd({ env: { BERTH_SHIM_LINGER_MS: "30000" } });
await d.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
console.log(await d.ctr(["run", "-d", BUSYBOX_IMAGE, "running", "sleep", "1000"], { timeoutMs: 30000 }));
for (let i = 0; i < 5; i++)
  await d.ctr(["task", "exec", "--exec-id", `w${i}`, "running", "true"], { timeoutMs: 30000 });
const shim = readdirSync("/proc")
  .filter((p) => /^\d+$/.test(p))
  .find((p) => {
    try {
      const c = readFileSync(`/proc/${p}/cmdline`, "utf8");
      return c.includes("shim-berth") && c.includes(d.address) && !c.includes("\0start\0");
    } catch {
      return false;
    }
  });
console.log("shim", shim, "daemon", d.pid);
const trace = (pid: string, out: string, ...more: string[]) =>
  spawn("strace", ["-ttt", "-o", out, ...more, "-p", pid], { stdio: "inherit" });
const a = trace(String(shim), "/tmp/strace-shim.txt", "-f");
const b = trace(String(d.pid), "/tmp/strace-daemon.txt", "-f");
await sleep(1500);
for (let i = 0; i < 3; i++) {
  const t = Date.now();
  await d.ctr(["task", "exec", "--exec-id", `p${i}`, "running", "true"], { timeoutMs: 30000 });
  console.log(Date.now() - t);
  await sleep(300);
}
await d.ctr(["run", "--rm", BUSYBOX_IMAGE, "rr", "true"], { timeoutMs: 30000 });
a.kill("SIGINT");
b.kill("SIGINT");
await sleep(300);
await d.ctr(["task", "kill", "-s", "9", "running"]);
