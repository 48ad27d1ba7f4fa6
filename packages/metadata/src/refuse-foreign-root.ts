import { access } from "node:fs/promises";
import { join } from "node:path";

import { failedPrecondition } from "@berth/errors";

/** Name of containerd's own database, beside which ours must not be made: two daemons would share the rest of the root. */
const FOREIGN_DATABASE = "meta.db";

/** This refuses a directory that holds the metadata of containerd. @throws failed_precondition */
export async function refuseForeignRoot(directory: string): Promise<void> {
  const path = join(directory, FOREIGN_DATABASE);
  const exists = await access(path).then(
    () => true,
    () => false,
  );
  if (exists)
    throw failedPrecondition(`${path} belongs to containerd, whose data berth does not read: use another root`);
}
