"""The system calls that containers may make, as data: what programs need, without what reaches around the container.

Left out, and therefore answered with EPERM: loading kernel code (modules, BPF, kexec), changing mounts and namespaces, the
clock, swap, quotas and ports of the machine, keyrings, io_uring and userfaultfd (a history of escapes), and handles to files
by number; and `socketcall`, whose arguments are in memory, so that 32-bit programs could make sockets that no filter sees (they have
`socket` since Linux 4.3). `clone3` answers ENOSYS, because its flags are out of a filter's sight; C libraries then use `clone`.
"""

import errno
import platform
from typing import Any

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr
fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl
ioprio_get ioprio_set lchown lchown32 lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 mkdir
mkdirat mknod mknodat newfstatat _llseek open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile sendfile64 setxattr splice stat stat64 statfs
statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimes
vmsplice write writev fanotify_mark cachestat chroot
"""
_MEMORY = """
brk madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap msync munlock munlockall
munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages set_mempolicy_home_node map_shadow_stack
"""
_PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
get_robust_list get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid
getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self modify_ldt nanosleep pause pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64
process_madvise process_vm_readv process_vm_writev ptrace kcmp restart_syscall rseq sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
setrlimit setsid setuid setuid32 sysinfo tgkill times tkill ugetrlimit uname vfork wait4 waitid waitpid
"""
_SIGNALS_AND_TIME = """
alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 eventfd eventfd2 getitimer
gettimeofday rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 sigprocmask sigreturn time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64 utimensat_time64
"""
_WAITING_AND_TALKING = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
getpeername getrandom getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 recv
recvfrom recvmmsg recvmmsg_time64 recvmsg select semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto
setsockopt shmat shmctl shmdt shmget shutdown socketpair
"""

# A shell that reads a line, passes on signals and ends: any image's, bash and busybox among them.
_WAITER = """
access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep close dup dup2 dup3 execve exit exit_group faccessat
faccessat2 fchdir fcntl fork fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid
getrandom getrlimit getsid gettid getuid ioctl kill lseek lstat madvise mmap mprotect mremap munmap nanosleep newfstatat open openat
pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6 read readlink readlinkat readv restart_syscall rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_yield select set_robust_list set_tid_address setgid
setgroups setpgid setsid setuid sigaltstack stat statfs statx sysinfo tgkill umask uname vfork wait4 waitid write writev
"""

_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
_NAMESPACE_FLAGS = 0x7E020000  # every CLONE_NEW…
_CLONE_NEWPID = 0x20000000
_IOCTL_TYPES = (0x54, 0x89)  # terminals and every descriptor; sockets
# FICLONE, FICLONERANGE, FIDEDUPERANGE, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FIEMAP, RNDGETENTCNT
_IOCTLS = (0x40049409, 0x4020940D, 0xC0189436, 0x80086601, 0x40086602, 0xC020660B, 0x80045200)
_AF_VSOCK = 40  # talks to the hypervisor, past every network namespace
_HARMLESS_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def profile(machine: str = platform.machine()) -> dict[str, Any]:
    """The `linux.seccomp` part of a container's configuration."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": _ARCHITECTURES.get(machine, []),
        "syscalls": [
            _allow(f"{_FILES} {_MEMORY} {_PROCESSES} {_SIGNALS_AND_TIME} {_WAITING_AND_TALKING}".split()),
            _allow(["socket"], {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}),
            _allow(["clone"], {"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}),
            *(_allow(["personality"], {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}) for value in _HARMLESS_PERSONALITIES),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ],
    }


def zygote_profile(machine: str = platform.machine()) -> dict[str, Any]:
    """A task's, which forks of the zygote keep, and what makes them tasks: a pid namespace, and entering those that they are handed.

    Neither works without CAP_SYS_ADMIN, so it is nothing to a task. In turn `ioctl` is bounded to what a terminal, a socket, a copy and a
    look at a file need: with that capability others freeze file systems or list the machine's namespaces.
    """
    found = profile(machine)
    first, *others = found["syscalls"]
    names = [name for name in first["names"] if name != "ioctl"]
    found["syscalls"] = [
        _allow(names),
        *others,
        _allow(["setns"]),
        _allow(["unshare"], {"index": 0, "value": _CLONE_NEWPID, "op": "SCMP_CMP_EQ"}),
        *(_allow(["ioctl"], {"index": 1, "value": 0xFF00, "valueTwo": kind << 8, "op": "SCMP_CMP_MASKED_EQ"}) for kind in _IOCTL_TYPES),
        *(_allow(["ioctl"], {"index": 1, "value": number, "op": "SCMP_CMP_EQ"}) for number in _IOCTLS),
    ]
    return found


def waiter_profile(machine: str = platform.machine()) -> dict[str, Any]:
    """For the shell that stands for a fork in its container. To load the whole list takes as long as all else of a start."""
    found = profile(machine)
    bounded = [rule for rule in found["syscalls"] if rule["names"] in (["clone"], ["clone3"])]
    return {**found, "architectures": found["architectures"][:1], "syscalls": [_allow(_WAITER.split()), *bounded]}


def _allow(names: list[str], *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": list(conditions)}
