import { DEFAULT_DECOMPRESSION_BUDGETS, DEFAULT_TAR_BUDGETS } from "@berth/archive";
import { z } from "zod";

import type { ApplyBudgets } from "./layer-job.ts";

const positive = z.number().int().positive();

/** Budgets of one layer, and how many are worked on at once. containerd has no such keys, and no such limits. */
export const walkingConfig = z.object({
  /** Bytes of the uncompressed archive. */
  max_layer_bytes: positive.default(DEFAULT_TAR_BUDGETS.maxBytes),
  /** Bytes of one file, holes included. */
  max_file_bytes: positive.default(DEFAULT_TAR_BUDGETS.maxFileBytes),
  /** Files, directories, links and extension headers. */
  max_entries: positive.default(DEFAULT_TAR_BUDGETS.maxEntries),
  /** Components of one path. */
  max_depth: positive.default(DEFAULT_TAR_BUDGETS.maxDepth),
  /** Bytes of one path or link target. */
  max_path_bytes: positive.default(DEFAULT_TAR_BUDGETS.maxPathBytes),
  /** Bytes out per byte in, judged once a layer has grown to a GiB. */
  max_compression_ratio: positive.default(DEFAULT_DECOMPRESSION_BUDGETS.maxRatio),
  /** Layers worked on at once; 0: as many as there are processors, two at least. */
  workers: z.number().int().min(0).default(0),
});

/** This makes the budgets that a configuration asks for. */
export function budgetsOf(config: z.infer<typeof walkingConfig>): ApplyBudgets {
  return {
    tar: {
      maxBytes: config.max_layer_bytes,
      maxFileBytes: config.max_file_bytes,
      maxEntries: config.max_entries,
      maxDepth: config.max_depth,
      maxPathBytes: config.max_path_bytes,
    },
    decompression: { maxBytes: config.max_layer_bytes, maxRatio: config.max_compression_ratio },
  };
}
