import { hostPlatform } from "./platform.ts";
import { withSeccomp } from "./spec-linux.ts";
import type { SpecOption } from "./spec-model.ts";

/** A rule: which calls are let through, and where it says so under which condition. */
interface SeccompRule {
  readonly names: readonly string[];
  readonly action: "SCMP_ACT_ALLOW" | "SCMP_ACT_ERRNO";
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArgument[];
}

interface SeccompArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: "SCMP_CMP_EQ" | "SCMP_CMP_GT" | "SCMP_CMP_LT" | "SCMP_CMP_MASKED_EQ";
}

/** What every container may call: neither modules, clocks, mounts and namespaces nor io_uring, whose work no filter sees. */
const ALWAYS = words(`
  _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
  chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
  clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
  eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
  fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
  fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
  futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
  getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
  getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
  getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
  inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
  io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
  landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
  listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules
  lsm_set_self_attr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir
  mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open
  mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
  msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
  pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl
  pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
  readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
  removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
  rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
  rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
  sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
  sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64
  send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid
  setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid
  setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
  setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
  sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
  sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
  timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
  timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime
  utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
`);

const BY_ARCHITECTURE: ReadonlyMap<string, { readonly seccomp: readonly string[]; readonly calls: readonly string[] }> =
  new Map([
    [
      "amd64",
      {
        seccomp: words("SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32"),
        calls: words("arch_prctl modify_ldt"),
      },
    ],
    [
      "arm64",
      {
        seccomp: words("SCMP_ARCH_ARM SCMP_ARCH_AARCH64"),
        calls: words("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
      },
    ],
  ]);

/** What a capability is of no use without. */
const BY_CAPABILITY: ReadonlyMap<string, readonly string[]> = new Map([
  ["CAP_BPF", ["bpf"]],
  ["CAP_DAC_READ_SEARCH", ["open_by_handle_at"]],
  ["CAP_PERFMON", ["perf_event_open"]],
  [
    "CAP_SYS_ADMIN",
    words(`bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
      open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`),
  ],
  ["CAP_SYS_BOOT", ["reboot"]],
  ["CAP_SYS_CHROOT", ["chroot"]],
  ["CAP_SYS_MODULE", words("delete_module init_module finit_module")],
  ["CAP_SYS_NICE", words("get_mempolicy mbind set_mempolicy set_mempolicy_home_node")],
  ["CAP_SYS_PACCT", ["acct"]],
  ["CAP_SYS_PTRACE", words("kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace")],
  ["CAP_SYS_RAWIO", words("iopl ioperm")],
  ["CAP_SYS_TIME", words("settimeofday stime clock_settime clock_settime64")],
  ["CAP_SYS_TTY_CONFIG", ["vhangup"]],
  ["CAP_SYSLOG", ["syslog"]],
]);

/** Linux, Linux of 32 bits, both with uname of 2.6, and the question which it is. */
const PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];
/** Every kind of namespace but that of time. */
const NEW_NAMESPACES = 0x7e020000;
/**
 * Neither sockets to the kernel's ciphers (AF_ALG, 38) nor to the host of a virtual machine (AF_VSOCK, 40). Rules for one argument are
 * alternatives to runc: what is let through has to be said, not what is left out.
 */
const SOCKETS = [
  { value: 38, op: "SCMP_CMP_LT" },
  { value: 39, op: "SCMP_CMP_EQ" },
  { value: 40, op: "SCMP_CMP_GT" },
] as const;
const ENOSYS = 38;

/**
 * This sets containerd's default seccomp profile: what is not listed fails with EPERM. It opens what the bounding capabilities
 * of the spec need, so it comes after the options that set them.
 * @see containerd contrib/seccomp/seccomp_default.go, DefaultProfile
 */
export function withDefaultSeccomp(architecture = hostPlatform().architecture): SpecOption {
  return (spec) => {
    const capabilities = new Set(spec.process?.capabilities?.bounding);
    const machine = BY_ARCHITECTURE.get(architecture);
    const syscalls = [
      allow(ALWAYS),
      ...SOCKETS.map((family) => allow(["socket"], { index: 0, ...family })),
      ...PERSONALITIES.map((value) => allow(["personality"], { index: 0, value, op: "SCMP_CMP_EQ" })),
      // no way around the filter since Linux 4.8
      allow(words("process_vm_readv process_vm_writev ptrace")),
      ...(machine ? [allow(machine.calls)] : []),
      ...[...BY_CAPABILITY].flatMap(([name, calls]) => (capabilities.has(name) ? [allow(calls)] : [])),
      ...(capabilities.has("CAP_SYS_ADMIN") ? [] : withoutNamespaces()),
    ];
    return withSeccomp({ defaultAction: "SCMP_ACT_ERRNO", architectures: machine?.seccomp ?? [], syscalls })(spec);
  };
}

/** Flags of clone3 are in memory, where no filter looks: who is told that there is no such call takes clone. */
function withoutNamespaces(): SeccompRule[] {
  return [
    allow(["clone"], { index: 0, value: NEW_NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }),
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ];
}

function allow(names: readonly string[], ...args: readonly SeccompArgument[]): SeccompRule {
  return { names, action: "SCMP_ACT_ALLOW", ...(args.length > 0 ? { args } : {}) };
}

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
