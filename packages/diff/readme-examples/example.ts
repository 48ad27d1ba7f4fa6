import { createApplier, createLayerEngine } from "@berth/diff";


await using engine = createLayerEngine({ workers: 2, temporaryDirectory: "/var/lib/berth/tmpmounts" });
const applier = createApplier({ content, engine, log });
const { digest: diffId, size } = await applier.apply(layer, await snapshotter.prepare(key, parent), { signal });

export {};
