/** Stops a walk when it throws; called for each directory. */
export type Checkpoint = () => void;
