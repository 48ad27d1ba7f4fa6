/**
 * What version calls answer: the containerd whose API this is, then berth's own version. Clients compare the first part with
 * what they need.
 */
export const VERSION = "2.4.0+berth.0.1.0";

/** The commit that this was built from; set by the bundler, empty in a checkout. */
export const REVISION = process.env["BERTH_REVISION"] ?? "";
