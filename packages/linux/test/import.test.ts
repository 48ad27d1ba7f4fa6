import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

import { expect, it } from "vitest";

const index = fileURLToPath(new URL("../src/index.ts", import.meta.url));

function evaluate(code: string): string {
  const args = ["--conditions=@berth/source", "--input-type=module", "-e", code];
  return execFileSync(process.execPath, args, { encoding: "utf8" }).trim();
}

const LOADED = `process.report.getReport().sharedObjects.some((path) => path.includes("koffi"))`;

it("importing the package loads nothing native; the first call does", () => {
  const code = `
    process.report.excludeNetwork = true;
    const linux = await import(${JSON.stringify(index)});
    const before = ${LOADED};
    linux.flock(0);
    console.log(before, ${LOADED});`;
  expect(evaluate(code)).toBe("false true");
});

it("calls work in a worker thread, and its end leaves this thread's calls alone", () => {
  const inWorker = `
    import { parentPort } from "node:worker_threads";
    const { llistxattr, pipe2 } = await import(${JSON.stringify(index)});
    llistxattr("/");
    pipe2();
    parentPort.postMessage("called");
    setInterval(() => {}, 1000);`;
  const code = `
    import { Worker } from "node:worker_threads";
    const linux = await import(${JSON.stringify(index)});
    linux.llistxattr("/");
    const worker = new Worker(${JSON.stringify(inWorker)}, { eval: true });
    const message = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await worker.terminate();
    linux.llistxattr("/");
    console.log(message);`;
  expect(evaluate(code)).toBe("called");
});
