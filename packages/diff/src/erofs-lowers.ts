import type { CallOptions } from "@berth/core/any";
import { mountTemporary } from "@berth/linux/mount";

/** Images that can be looked into until this is disposed. */
export interface LowerMounts extends AsyncDisposable {
  /** Where they are, in the order given. */
  readonly paths: readonly string[];
}

/** This mounts EROFS images read-only, each at a place of its own. */
export async function mountLowers(
  images: readonly string[],
  { directory, signal }: CallOptions & { readonly directory: string | undefined },
): Promise<LowerMounts> {
  await using mounted = new AsyncDisposableStack();
  const paths: string[] = [];
  for (const source of images) {
    const mount = { type: "erofs", source, target: "", options: ["ro", "loop", "nosuid", "nodev", "noexec"] };
    const where = { ...(directory === undefined ? {} : { directory }), ...(signal === undefined ? {} : { signal }) };
    paths.push(mounted.use(await mountTemporary([mount], where)).path);
  }
  const owned = mounted.move();
  return { paths, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
