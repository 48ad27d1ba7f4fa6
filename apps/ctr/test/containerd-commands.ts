/**
 * The commands of containerd 2.4's ctr with their flags, as `ctr … --help` tells them: one on each line, names of one flag joined by commas.
 * A group's own flags are those that may stand behind its name.
 */
export const CONTAINERD_COMMANDS = `
plugins:
plugins list: quiet,q detailed,d
plugins inspect-runtime: runtime runtime-config-path runc-binary runc-root runc-systemd-cgroup
version:
containers:
containers create: [CTR]
containers delete: keep-snapshot
containers info: spec
containers list: quiet,q
containers label:
containers checkpoint: rw image task
containers restore: rw live
content:
content active: timeout,t root
content delete:
content edit: validate editor
content fetch: label platform all-platforms skip-metadata metadata-only [REG]
content fetch-object: [REG]
content fetch-blob: media-type [REG]
content get:
content ingest: expected-size expected-digest
content list: quiet,q
content push-object: [REG]
content label:
content prune:
content prune references: async dry
events:
images:
images check: quiet,q snapshotter
images export: skip-manifest-json skip-non-distributable platform all-platforms local
images import: base-name digests skip-digest-for-named index-name all-platforms platform no-unpack local compress-blobs discard-unpacked-layers sync-fs snapshotter label
images inspect: content
images list: quiet,q
images mount: snapshotter label rw platform sync-fs expiration,x [REG]
images unmount: snapshotter label rm [REG]
images pull: snapshotter label platform all-platforms skip-metadata print-chainid max-concurrent-downloads local sync-fs [REG]
images push: manifest manifest-type platform max-concurrent-uploaded-layers local allow-non-distributable-blobs [REG]
images prune: all
images delete: sync
images tag: force local skip-reference-check
images label: replace-all,r
images convert: uncompress oci erofs erofs-compressors erofs-mkfs-options platform all-platforms
images build-erofs-cache: compressors mkfs-options platform dmverity
images usage: snapshotter
leases:
leases list: quiet,q
leases create: id expires,x
leases delete: sync
namespaces:
namespaces create:
namespaces list: quiet,q
namespaces remove: cgroup,c
namespaces label:
pprof: debug-socket,d
pprof block: debug
pprof goroutines: debug
pprof heap: debug
pprof profile: seconds,s debug
pprof threadcreate: debug
pprof trace: seconds,s debug
run: rm null-io log-uri detach,d fifo-dir cgroup platform cni sync-fs dump-config uidmap gidmap remap-labels privileged-without-host-devices cpus cpu-shares cpuset-cpus cpuset-mems rlimit-nofile [CTR]
snapshots: snapshotter
snapshots commit:
snapshots diff: media-type ref keep label
snapshots info:
snapshots list:
snapshots mounts: temp
snapshots prepare: target,t mounts
snapshots delete:
snapshots label:
snapshots tree:
snapshots unpack: sync-fs snapshotter
snapshots usage: b
snapshots view: target,t mounts
tasks:
tasks attach:
tasks checkpoint: exit image-path work-path
tasks delete: force,f exec-id
tasks exec: cwd tty,t detach,d exec-id fifo-dir log-uri user
tasks list: quiet,q
tasks kill: signal,s exec-id all,a
tasks metrics: format
tasks pause:
tasks ps:
tasks resume:
tasks start: no-pivot null-io log-uri fifo-dir pid-file detach,d
install: libs,l replace,r path
oci:
oci spec: platform
sandboxes:
sandboxes run: runtime
sandboxes list: filters
sandboxes remove: force,f
sandboxes info:
info:
deprecations:
deprecations list: format
shim: id shim-address
shim delete:
shim exec: stdin stdout stderr tty,t attach,a env,e cwd spec
shim start:
shim state: task-id,t api-version
shim shutdown: api-version
shim pprof:
shim pprof block: debug
shim pprof goroutines: debug
shim pprof heap: debug
shim pprof profile: seconds,s debug
shim pprof threadcreate: debug
shim pprof trace: seconds,s debug
`;

/** Flags that several commands share. */
export const CONTAINERD_FLAG_SETS: Readonly<Record<string, string>> = {
  REG: "skip-verify,k plain-http user,u refresh hosts-dir tlscacert tlscert tlskey http-dump http-trace",
  CTR: "runtime runtime-config-path runc-binary runc-root runc-systemd-cgroup snapshotter snapshotter-label config,c cwd env env-file label annotation mount net-host privileged read-only sandbox tty,t with-ns pid-file gpus allow-new-privs memory-limit cap-add cap-drop seccomp seccomp-profile apparmor-default-profile apparmor-profile blockio-config-file blockio-class rdt-class hostname user,u rootfs no-pivot cpu-quota cpu-period rootfs-propagation device",
};
