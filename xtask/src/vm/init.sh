#!/busybox sh
# Process 1 of the guest: shows the host's files at their own paths, runs /command there, says how it ended.
# The host's root is mounted read-only; only the folder of built victims can be written.
b=/busybox
$b mkdir -p /proc /dev /host /new
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1

while read -r module; do
    $b insmod "/$module" || echo "vm: cannot load $module"
done </modules

$b mount -t virtiofs -o ro host /host || echo "vm: cannot mount the host's files"
$b mount -o bind /host /new
for at in tmp run var/tmp; do
    $b mount -t tmpfs -o mode=1777 tmp /new/$at
done
$b mount -t proc proc /new/proc
$b mount -t sysfs sys /new/sys
$b mount -t tracefs tracefs /new/sys/kernel/tracing
$b mount -t cgroup2 cgroup /new/sys/fs/cgroup
$b mount -t bpf bpf /new/sys/fs/bpf
$b mount -o move /dev /new/dev
$b mkdir -p /new/dev/shm /new/dev/pts
$b mount -t tmpfs -o mode=1777 shm /new/dev/shm
$b mount -t devpts pts /new/dev/pts
# A checkout below /tmp is hidden by the guest's own /tmp.
while read -r folder; do
    $b mkdir -p "/new$folder"
    $b mount -o bind "/host$folder" "/new$folder"
done </hidden
$b mount -t virtiofs victims "/new$($b cat /victims.path)" || echo "vm: cannot mount the folder of victims"
$b ip link set lo up
$b hostname memlens-vm
$b ulimit -n 65536 2>/dev/null

$b cp /busybox /command /new/run/
exec $b switch_root /new /run/busybox sh -c '
    cd /
    /run/busybox sh /run/command </dev/null >/dev/ttyS1 2>&1
    echo "vm: ended $?" >/dev/ttyS1
    /run/busybox poweroff -f
'
