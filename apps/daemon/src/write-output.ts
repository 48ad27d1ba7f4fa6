/**
 * This prints what a command has to say. A reader that is slow is waited for.
 *
 * @throws what the write failed with: `EPIPE` when nobody reads any more
 */
export async function writeOutput(text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { stdout } = process;
  // The stream tells of its end twice; without a listener of ours the second time ends the process. One that is there already is none: it belongs to the output of a worker, and
  // goes with the first error.
  if (!stdout.listeners("error").includes(ignore)) stdout.on("error", ignore);
  stdout.write(text, (error) => (error ? reject(error) : resolve()));
  await promise;
}

function ignore(): void {}
