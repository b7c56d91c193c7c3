/*
 * Asks the kernel for what a gateway or a vault never needs, and prints for each what it said: `name=0`, or the error's
 * number. Nothing that it asks for does harm if it is granted. `probe never` asks for what takes rights;
 * `probe foreign` makes a call of another architecture; `probe memory PID` opens that process's memory; `probe wait` prints
 * a line and waits to be ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRY(name, call) (errno = 0, printf("%s=%d\n", name, (call) == -1 ? errno : 0))

static void in_a_child(const char *name, long child) {
  if (child == 0) _exit(0);
  if (child > 0) waitpid((pid_t)child, NULL, 0);
  printf("%s=%d\n", name, child < 0 ? errno : 0);
}

/* Executes something that is there but is no program: past the filter, the kernel says so. */
static void try_exec(void) {
  char *none[] = {NULL};
  struct rlimit limit;
  TRY("execve", syscall(SYS_execve, "/etc/passwd", none, none, 0, 0, 0));
  TRY("execve with a word", syscall(SYS_execve, "/etc/passwd", none, none, 0, 0, 0x0123456789abcdef));
  TRY("execveat", syscall(SYS_execveat, open("/etc/passwd", O_RDONLY), "", none, none, AT_EMPTY_PATH));
  TRY("execveat of a path", syscall(SYS_execveat, -1, "/etc/passwd", none, none, AT_EMPTY_PATH));
  getrlimit(RLIMIT_NOFILE, &limit);
  printf("descriptors unlike their limit=%d\n", limit.rlim_cur != limit.rlim_max);
  TRY("limit", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL));
  TRY("limit read", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit));
  TRY("setrlimit", syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit));
}

/* Calls that need rights which nobody has here, or that name others; their arguments make no sense. */
static void try_never(void) {
#define NEVER(call) TRY(#call, syscall(SYS_##call, -1L, -1L, -1L, -1L, -1L, -1L))
  NEVER(process_madvise), NEVER(move_pages), NEVER(migrate_pages), NEVER(rt_tgsigqueueinfo), NEVER(perf_event_open);
  NEVER(userfaultfd), NEVER(bpf), NEVER(add_key), NEVER(request_key), NEVER(setgid), NEVER(setreuid), NEVER(setregid);
  NEVER(setresuid), NEVER(setfsuid), NEVER(setfsgid), NEVER(setgroups), NEVER(capset), NEVER(chroot), NEVER(pivot_root);
  NEVER(mount), NEVER(umount2), NEVER(move_mount), NEVER(open_tree), NEVER(fsopen), NEVER(fsconfig), NEVER(fsmount);
  NEVER(fspick), NEVER(mount_setattr), NEVER(open_by_handle_at), NEVER(fanotify_init), NEVER(init_module);
  NEVER(finit_module), NEVER(delete_module), NEVER(kexec_load), NEVER(kexec_file_load), NEVER(reboot), NEVER(syslog);
  NEVER(acct), NEVER(quotactl), NEVER(quotactl_fd), NEVER(swapon), NEVER(swapoff), NEVER(sethostname);
  NEVER(setdomainname), NEVER(settimeofday), NEVER(adjtimex), NEVER(clock_settime), NEVER(clock_adjtime);
#ifdef __x86_64__
  NEVER(iopl), NEVER(ioperm), NEVER(modify_ldt);
#endif
}

static void try_processes(void) {
  pid_t parent = getppid(), self = getpid();
  char byte = 1, copy = 0;
  struct iovec from = {&byte, 1}, to = {&copy, 1};
#ifdef SYS_fork
  in_a_child("fork", syscall(SYS_fork));
#endif
  in_a_child("clone", syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
  TRY("clone3", syscall(SYS_clone3, NULL, 0));
  TRY("process_vm_readv", process_vm_readv(self, &to, 1, &from, 1, 0));
  TRY("process_vm_writev", process_vm_writev(self, &to, 1, &from, 1, 0));
  TRY("kcmp", syscall(SYS_kcmp, self, self, 1, 0, 0));
  TRY("pidfd_getfd", syscall(SYS_pidfd_getfd, -1, 0, 0));
  TRY("pidfd_send_signal", syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0));
  TRY("kill another", kill(parent, 0));
  TRY("kill itself", kill(self, 0));
  TRY("tgkill another", syscall(SYS_tgkill, parent, parent, 0));
  TRY("tgkill itself", syscall(SYS_tgkill, self, self, 0));
  TRY("tkill", syscall(SYS_tkill, parent, 0));
  TRY("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, self, 0, NULL));
  TRY("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
  TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0));
  TRY("setuid", syscall(SYS_setuid, getuid()));
  TRY("setresgid", syscall(SYS_setresgid, -1, -1, -1));
  TRY("personality", syscall(SYS_personality, 0xffffffff));
  TRY("unshare", unshare(0));
  TRY("setns", setns(-1, 0));
  TRY("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
  TRY("parent's death", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  TRY("dumpable", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
  TRY("name", prctl(PR_SET_NAME, "probe", 0, 0, 0));
  TRY("owner of a descriptor", fcntl(1, F_SETOWN, parent));
  TRY("owner of a descriptor, anew", fcntl(1, F_SETOWN_EX, &(struct f_owner_ex){F_OWNER_PID, parent}));
  TRY("owner of a socket", ioctl(0, FIOSETOWN, &parent));
  TRY("group of a socket", ioctl(0, SIOCSPGRP, &parent));
  TRY("keystroke", ioctl(0, TIOCSTI, ""));
  TRY("paste", ioctl(0, TIOCLINUX, ""));
  TRY("another request", ioctl(0, FIONREAD, &to));
  TRY("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static void try_sockets(void) {
  int pair[2];
  TRY("unix", socket(AF_UNIX, SOCK_STREAM, 0));
  TRY("unix pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  TRY("inet", socket(AF_INET, SOCK_STREAM, 0));
  TRY("inet6", socket(AF_INET6, SOCK_STREAM, 0));
  TRY("inet datagram", socket(AF_INET, SOCK_DGRAM, 0));
  TRY("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  TRY("listen", listen(-1, 1));
  TRY("accept", accept(-1, NULL, NULL));
  TRY("accept4", accept4(-1, NULL, NULL, 0));
}

int main(int count, char **argument) {
  if (count > 1 && strcmp(argument[1], "foreign") == 0) {
    /* x32's getpid. */
    TRY("foreign", syscall(0x40000000 | SYS_getpid));
    return 0;
  }
  if (count > 2 && strcmp(argument[1], "memory") == 0) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/mem", argument[2]);
    TRY("memory", open(path, O_RDONLY));
    return 0;
  }
  if (count > 1 && strcmp(argument[1], "wait") == 0) {
    puts("waiting=0");
    fflush(stdout);
    for (;;) pause();
  }
  if (count > 1 && strcmp(argument[1], "never") == 0) {
    try_never();
    return 0;
  }
  TRY("descriptor 3", fcntl(3, F_GETFD));
  TRY("descriptor 5", fcntl(5, F_GETFD));
  try_exec();
  try_sockets();
  try_processes();
  return 0;
}
