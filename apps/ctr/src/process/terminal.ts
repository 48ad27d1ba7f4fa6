import type { RemoteTask } from "@berth/client";

/**
 * This switches the terminal of this process to raw mode, so that keys such as Ctrl-C reach the container. Disposing restores it.
 * Does nothing where standard input is no terminal.
 */
export async function enterRawMode(): Promise<Disposable> {
  if (!process.stdin.isTTY) return { [Symbol.dispose]() {} };
  const { makeRaw } = await import("@berth/linux/terminal");
  return { [Symbol.dispose]: makeRaw(0) };
}

/** Whose processes have terminals. */
type Resizable = Pick<RemoteTask, "resizePty">;

/** This gives the process's terminal the size of ours, now and whenever it changes, until it is disposed. */
export async function followWindowSize(task: Resizable, execId = ""): Promise<Disposable> {
  const resize = (): Promise<void> => copyWindowSize(task, execId);
  const onChange = (): void => void resize();
  process.on("SIGWINCH", onChange);
  await resize();
  return { [Symbol.dispose]: () => void process.off("SIGWINCH", onChange) };
}

/** This gives the process's terminal the size that ours has now. */
export async function copyWindowSize(task: Resizable, execId = ""): Promise<void> {
  const descriptor = [process.stdout, process.stdin, process.stderr].find((stream) => stream.isTTY)?.fd;
  if (descriptor === undefined) return;
  const { getWindowSize } = await import("@berth/linux/terminal");
  try {
    await task.resizePty({ execId, ...getWindowSize(descriptor) });
  } catch {
    // A wrong size is no reason to end the session; a process that has ended needs none.
  }
}
