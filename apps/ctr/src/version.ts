/** The containerd whose commands these are, then berth's own version: as berthd answers, so that equal builds compare as equal. */
export const VERSION = "2.4.0+berth.0.1.0";

/** The commit that this was built from; empty in a checkout. */
export const REVISION = process.env["BERTH_REVISION"] ?? "";
