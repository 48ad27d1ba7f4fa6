/** This returns the errno name of an error of a system call; `undefined` for any other value. For workers, see `tree-job`. */
export function errnoName(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
