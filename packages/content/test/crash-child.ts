// A process that commits one blob and kills itself at a named step: crash-child.ts <root> <step> <size>.
import { createHash } from "node:crypto";
import fsPromises, { open } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { argv, execPath, kill, pid } from "node:process";

const [, , root = "", step = "", size = "0"] = argv;
const bytes = new Uint8Array(Number(size)).map((_, index) => index % 251);

/** Replaces a function so that the process dies instead of calling it, or right after. */
function dieAt<T extends object>(owner: T, name: keyof T & string, when: "before" | "after", count = 1): void {
  const original = owner[name];
  if (typeof original !== "function") throw new Error(`no function ${name}`);
  let calls = 0;
  Object.assign(owner, {
    async [name](this: unknown, ...args: unknown[]) {
      calls += 1;
      if (calls === count && when === "before") kill(pid, "SIGKILL");
      const result: unknown = await Reflect.apply(original, this, args);
      if (calls === count && when === "after") kill(pid, "SIGKILL");
      return result;
    },
  });
}

const probe = await open(execPath);
// Every handle has this prototype.
const handles = Object.getPrototypeOf(probe) as { write: unknown; sync: unknown };
await probe.close();
if (step === "during write") dieAt(handles, "write", "after", 2);
if (step === "before sync") dieAt(handles, "sync", "before");
if (step === "after sync") dieAt(handles, "sync", "after");
if (step === "before rename") dieAt(fsPromises, "rename", "before");
if (step === "after rename") dieAt(fsPromises, "rename", "after");
if (step === "before removal") dieAt(fsPromises, "rm", "before");
syncBuiltinESMExports();

const { createLocalContentStore } = await import("../src/local-content-store.ts");
const store = await createLocalContentStore({ root });
const writer = await store.writer("layer", { total: bytes.length });
const { offset } = await writer.status();
await writer.write(bytes.subarray(offset));
const digest = createHash("sha256").update(bytes).digest("hex");
const info = await writer.commit({ size: bytes.length });
if (info.digest !== `sha256:${digest}`) throw new Error("wrong digest");
console.log("committed");
