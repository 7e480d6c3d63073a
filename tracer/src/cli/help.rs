//! Longer help texts: the examples at the end of `memlens --help` and of each subcommand.

/// What `memlens --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  memlens leaks -p 4242              the stacks that hold most memory, every 5 seconds
  memlens leaks --all                every process of this host, in all containers
  memlens leaks -n redis-server 10 3 three reports, 10 seconds apart, of every redis-server
  memlens leaks --json -- ./server --port 80
                                     start a command, trace it from its first instruction
  memlens leaks -p 4242 -o 1m --fail-over 10MiB 60 1
                                     exit 1 if over 10 MiB are older than a minute
  memlens host                       is memory shrinking, who grows, what to run next
  memlens vm -p 4242                 who has mapped address space, and what of it is memory
  memlens kernel                     which kernel stacks hold the kernel's own memory
  memlens trace -p 4242              every allocation and release, one line each
  memlens explain 4242               where its memory is: kernel, allocator, runtime
  memlens doctor                     what works on this machine, and how to mend the rest
  memlens demo                       a built-in leaky program, traced for ten seconds

Exit codes: 0 done, 1 leaks found where --fail-over asked for it, 2 failed.
Sizes take B, K, M, G or KiB, MiB, GiB (1024) and KB, MB, GB (1000); times take us, ms, s, m, h, d.";

/// What `memlens leaks --help` ends with.
pub const LEAKS_EXAMPLES: &str = "\
Examples:
  memlens leaks -p 4242                        report every 5 seconds until Ctrl-C
  memlens leaks -p 4242,4243 500ms 10          ten reports of two processes, half a second apart
  memlens leaks -n nginx --sort growth -T 5    the five stacks that grow fastest
  memlens leaks -p 4242 --older 1m             only blocks that are older than a minute
  memlens leaks -p 4242 --sample-bytes 512KiB  cheaper: one sample in about 512 KiB
  memlens leaks --svg heap.svg -- ./prog -v    a flame graph of what ./prog never freed
  memlens leaks --all --by container 60        the whole host, summed by container, every minute
  memlens leaks --cgroup /system.slice/nginx.service --per-process 3
                                               one service, with the top stacks of each process
INTERVAL and COUNT stand before \"--\": memlens leaks 10 3 -- ./prog";

/// What `memlens vm --help` ends with.
pub const VM_EXAMPLES: &str = "\
Examples:
  memlens vm -p 4242                     report every 5 seconds until Ctrl-C
  memlens vm -p 4242 --sort growth 60    what was mapped in the last minute and stayed
  memlens vm -n java 10 3                three reports of every java, 10 seconds apart
  memlens vm --faults -p 4242            who touches memory that was not there yet
  memlens vm --all --by container 60     the whole host, summed by container, every minute
  memlens vm --svg map.svg -- ./prog -v  a flame graph of what ./prog has mapped";

/// What `memlens kernel --help` ends with.
pub const KERNEL_EXAMPLES: &str = "\
Examples:
  memlens kernel                       report every 5 seconds until Ctrl-C
  memlens kernel --older 1m 60         what has been held for a minute, every minute
  memlens kernel --slab dentry         one slab cache, by its name in /proc/slabinfo
  memlens kernel --order 3             blocks of 8 pages
  memlens kernel --sample-bytes 64KiB  cheaper: follow a sample, scale up, say the error
  memlens kernel --svg kernel.svg 60 1 a flame graph after one minute";

/// What `memlens trace --help` ends with.
pub const TRACE_EXAMPLES: &str = "\
Examples:
  memlens trace -p 4242                every allocator call of one process
  memlens trace -p 4242 -z 1MiB        allocations of at least 1 MiB, and all releases
  memlens trace -- ./prog > calls.txt  a command from its first instruction";

/// What `memlens doctor --help` ends with.
pub const DOCTOR_EXAMPLES: &str = "\
Examples:
  memlens doctor                   the machine and this user's rights
  memlens doctor -p 4242           also: which allocators process 4242 uses
  memlens doctor --probes -p 4242  also: every probe site, and whether it is fast
  memlens doctor --unwind -p 4242  also: how stacks are walked through each mapped file
Exit code 2 when something that memlens needs is missing.";

/// What `memlens host --help` ends with.
pub const HOST_EXAMPLES: &str = "\
Examples:
  memlens host                       a report every 5 seconds until Ctrl-C
  memlens host --watch               the same in place, on a terminal
  memlens host 1m 1                  one report after a minute: slow growth shows
  memlens host --by container        one row for each container, service or cgroup
  memlens host --sort size --of swap who is swapped out most
  memlens host 10 360 --csv hour.csv an hour of figures for a plot
Without root the PSS of other users' processes is not shown; everything else is.";
