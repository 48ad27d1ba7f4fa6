export { type Child, ChildReaper, type ChildReaperOptions } from "./process/child-reaper.ts";
export {
  getOomScoreAdj,
  getPpid,
  openPidfd,
  pidNamespaceInode,
  processExit,
  type ProcessExitOptions,
  readable,
  setOomScoreAdj,
  setSubreaper,
} from "./process/control.ts";
export { replaceProcess, type ReplacementProgram } from "./process/replace-process.ts";
export { findOnPath, findProgram } from "./process/find-program.ts";
export { type ProgramOptions, type ProgramResult, runProgram } from "./process/run-program.ts";
export { type ChildDescriptor, spawn, type SpawnOptions } from "./process/spawn.ts";
export { decodeWaitStatus, type ExitStatus, peekExited, waitPid, type WaitOptions } from "./process/wait.ts";
