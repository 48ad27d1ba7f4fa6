// npm run quickstart: from a fresh clone to a running container. Needs root, Node 20 or later and npm; apt where runc or busybox is missing.
// Everything happens in a temporary folder and in the checkout's caches; no mount and no process is left behind.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { debianPath, debianRoot, ensureDebianPackages } from "./lib/debian.mjs";
import { installDependencies } from "./lib/dependencies.mjs";
import { pinnedNode, root } from "./lib/paths.mjs";
import { run, step } from "./lib/run.mjs";

const IMAGE = "example.org/berth/busybox:1";

try {
  await main();
} catch (error) {
  console.error(`\nquickstart: ${error.message}`);
  process.exitCode = 1;
}

async function main() {
  if (process.platform !== "linux") throw new Error("berth runs on Linux");
  if (process.getuid() !== 0)
    throw new Error("this needs root, to mount file systems and run containers. Try: sudo npm run quickstart");
  await step("Installing dependencies", installDependencies);
  const runc = onPath("runc");
  const busybox = await staticBusybox();
  const missing = [...(runc ? [] : ["runc"]), ...(busybox ? [] : ["busybox-static"])];
  if (missing.length > 0)
    await step(`Fetching ${missing.join(" and ")} from Debian`, () => ensureDebianPackages(missing));
  await step("Building", () => run(pinnedNode(), ["tooling/bundle.mjs"]));
  const directory = await mkdtemp(join(tmpdir(), "berth-quickstart-"));
  try {
    await runContainer(directory, busybox ?? join(debianRoot, "bin", "busybox"));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  console.log(nextSteps(runc));
}

async function runContainer(directory, busybox) {
  // The shim waits for the next container before it ends; here there is none.
  const env = { ...process.env, PATH: [process.env.PATH, ...debianPath].join(delimiter), BERTH_SHIM_LINGER_MS: "0" };
  const address = join(directory, "state", "berth.sock");
  const ctr = (...args) => run(join(root, "tooling/bin/ctr"), ["--address", address, ...args], { env });
  const daemon = await step("Starting berthd", () => startDaemon(directory, address, env));
  try {
    const archive = join(directory, "busybox.tar");
    await step("Making an image from busybox", () => buildArchive(busybox, archive));
    await step("Importing and unpacking it", () => ctr("images", "import", archive));
    const output = await step("Running a container", () =>
      ctr(
        "run",
        "--rm",
        IMAGE,
        "hello",
        "sh",
        "-c",
        'echo "Hello from a container: pid $$, host $(hostname), $(busybox | head -n 1)"',
      ),
    );
    console.log(`\n  ${output.trim()}\n`);
  } finally {
    await step("Stopping berthd", () => stopDaemon(daemon, join(directory, "state", "s")));
  }
}

/** A daemon finds no runc but on its PATH: where there was none, it is told of the one that was fetched. */
function nextSteps(hasRunc) {
  const environment = hasRunc ? "" : `env PATH="$PATH:${join(debianRoot, "usr/sbin")}" `;
  return `It works. Next:

  sudo ${environment}${join(root, "tooling/bin/berthd")}                    the daemon, in the foreground
  sudo ${join(root, "tooling/bin/ctr")} images import FILE    images from docker save, skopeo or buildah
  sudo ${join(root, "tooling/bin/ctr")} run --rm -t IMAGE ID  a container; ctr --help shows the rest
${hasRunc ? "" : "\nContainers need runc: the daemon above uses the one that was fetched for this. To have it everywhere: apt install runc\n"}
README.md says what berth is; docs/architecture.md how it is built.`;
}

async function startDaemon(directory, address, env) {
  const args = ["--root", join(directory, "root"), "--state", join(directory, "state"), "--address", address];
  const daemon = spawn(join(root, "tooling/bin/berthd"), args, { env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  daemon.stderr.on("data", (chunk) => (log = (log + chunk).slice(-8000)));
  for (let waited = 0; !existsSync(address) || !log.includes("successfully booted"); waited += 50) {
    if (daemon.exitCode !== null || waited > 30_000) throw new Error(`berthd did not start:\n${log}`);
    await sleep(50);
  }
  return daemon;
}

/** Stops the daemon, and waits until the shim has removed its socket: it ends then. */
async function stopDaemon(daemon, shimSockets) {
  if (daemon.exitCode === null && daemon.signalCode === null) {
    const ended = new Promise((resolve) => daemon.once("exit", resolve));
    daemon.kill("SIGTERM");
    await ended;
  }
  for (let waited = 0; existsSync(shimSockets) && (await readdir(shimSockets)).length > 0; waited += 50) {
    if (waited > 10_000) throw new Error("the shim did not end");
    await sleep(50);
  }
}

async function buildArchive(busybox, archive) {
  await run(pinnedNode(), [
    "--conditions=@berth/source",
    "--disable-warning=ExperimentalWarning",
    "tooling/busybox-archive.ts",
    busybox,
    archive,
    IMAGE,
  ]);
}

function onPath(name) {
  return process.env.PATH.split(delimiter).some((directory) => existsSync(join(directory, name)));
}

/** A busybox of the host that needs no dynamic linker, if there is one. */
async function staticBusybox() {
  for (const path of ["/bin/busybox", "/usr/bin/busybox"]) {
    if (existsSync(path) && !(await readFile(path)).subarray(0, 4096).includes("/ld-")) return path;
  }
  return undefined;
}
