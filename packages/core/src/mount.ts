/**
 * One mount as it is asked for, independent of where it is made; a list of them is made in order, one over the other.
 *
 * @see containerd core/mount, Mount
 */
export interface Mount {
  /** File system type, or `bind`. */
  readonly type: string;
  readonly source: string;
  /** Path below the place where the list is mounted; empty for the place itself. */
  readonly target: string;
  /** As in fstab: `ro`, `rbind`, `lowerdir=…`. */
  readonly options: readonly string[];
}
