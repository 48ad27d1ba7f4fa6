import { join } from "node:path";

import { createContentClient } from "@berth/client/content";
import { createSnapshotsClient } from "@berth/client/snapshots";
import { createUnixTransport } from "@berth/client/transport";
import { runConformance } from "@berth/conformance";
import { contentCases, contentLabelCases } from "@berth/conformance/content";
import { snapshotCases } from "@berth/conformance/snapshots";
import { createLocalContentStore } from "@berth/content";
import { Content, createContentService } from "@berth/content/service";
import type { Mount } from "@berth/core/mount";
import { parseNamespace } from "@berth/core/namespaces";
import type { Snapshotter } from "@berth/core/snapshots";
import { mountAll, unmountAll } from "@berth/linux/mount";
import { openMetadata } from "@berth/metadata";
import { createRpcServer, serviceRoute } from "@berth/rpc";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { openOverlaySnapshotter } from "@berth/snapshotters/overlayfs";
import { createSnapshotService, Snapshots } from "@berth/snapshotters/service";
import { temporaryDirectory } from "@berth/testing";
import * as vitest from "vitest";

import { namespaceOfBackendName } from "../src/proxies/backend-name.ts";

/** Our stores behind our services, as proxies use them: bare, and under the metadata database. */

const backend = { namespaceOf: namespaceOfBackendName };

async function serve(open: (directory: string) => Promise<Snapshotter>) {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("served"));
  const store = await createLocalContentStore({ root: join(path, "content") });
  const local = made.use(await open(join(path, "snapshots")));
  const server = made.use(
    createRpcServer({
      routes: [
        serviceRoute(Content, createContentService({ storeFor: () => store })),
        serviceRoute(Snapshots, createSnapshotService({ snapshotterFor: () => local })),
      ],
    }),
  );
  await server.listen({ path: join(path, "socket") });
  const transport = made.use(createUnixTransport({ path: join(path, "socket") }));
  const content = createContentClient(transport, backend);
  const snapshotter = createSnapshotsClient(transport, "far", backend);
  const owned = made.move();
  return { path, content, snapshotter, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const overlay = async (root: string): Promise<Snapshotter> => (await openOverlaySnapshotter({ root })).snapshotter;
const native = (root: string): Promise<Snapshotter> => openNativeSnapshotter({ root });

async function mount(mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  await mountAll(mounts, target);
  return { [Symbol.asyncDispose]: () => unmountAll(target) };
}

async function openNamespaced(open: (directory: string) => Promise<Snapshotter>) {
  await using made = new AsyncDisposableStack();
  const served = made.use(await serve(open));
  const metadata = made.use(
    await openMetadata({
      path: join(served.path, "meta.mdb"),
      content: served.content,
      snapshotters: new Map([["far", served.snapshotter]]),
      events: { publish: async () => {} },
      fatal: (error) => {
        throw error;
      },
    }),
  );
  const stores = metadata.namespace(parseNamespace("test"));
  const owned = made.move();
  return { stores, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

runConformance(vitest, "content over a proxy", contentCases, async () => {
  const served = await serve(native);
  return { store: served.content, [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
});
runConformance(vitest, "content of a namespace over a proxy", [...contentCases, ...contentLabelCases], async () => {
  const { stores, ...owned } = await openNamespaced(native);
  return { store: stores.content, ...owned };
});
for (const [name, open, rebases] of [
  ["overlayfs", overlay, true],
  ["native", native, false],
] as const) {
  runConformance(vitest, `${name} over a proxy`, snapshotCases, async () => ({
    ...(await serve(open)),
    rebases,
    mount,
  }));
}
runConformance(vitest, "overlayfs of a namespace over a proxy", snapshotCases, async () => {
  const { stores, ...owned } = await openNamespaced(overlay);
  return { snapshotter: stores.snapshotter("far"), rebases: true, mount, ...owned };
});
