/*
 * Starts the gateway or a vault with nothing that it does not need, and becomes it (M-3):
 *
 *   launcher --role gateway|vault [--socket none|unix|inet] [--bridge PATH] [--user UID:GID[:GID...]] --parent PID
 *            -- PROGRAM ARGUMENT...
 *   launcher --role supervisor -- PROGRAM ARGUMENT...
 *
 *   --role    what is started; gateway and vault may start no program and no process, trace nobody, and signal nobody but
 *             themselves; the supervisor, which starts them, only writes no core and gains no privileges
 *   --socket  the one kind of socket that a vault may open for its HSM; it listens on none
 *   --bridge  the path of a Unix socket that is handed on as descriptor 4, so that neither need open one: the gateway's is
 *             bound there, a vault's is connected
 *   --user    whom to become, and the groups; the supplementary ones are these or none
 *   --parent  who must be alive: with it ends what is started, even if that is stopped
 *
 * Denied calls give EPERM, or ENOSYS where glibc and libuv then go another way; calls of another architecture kill.
 * What cannot be set up ends the launcher with 71 (EX_OSERR) before anything is started. Linux 5.9 or newer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the filter is written for x86_64 and aarch64"
#endif

/* Landlock's second version; the headers of a system with an older kernel do not know it. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif

enum { EX_USAGE = 64, EX_OSERR = 71, BRIDGE_FD = 4, MOST_GROUPS = 32 };

/* The newest call that the list below was held against (mseal, Linux 6.10). What came later does not exist here. */
enum { NEWEST_CALL = 462 };

enum role { NO_ROLE, SUPERVISOR, GATEWAY, VAULT };
enum socket_family { NONE, UNIX, INET };

struct order {
  enum role role;
  enum socket_family family;
  const char *bridge;
  int switches_user;
  uid_t uid;
  gid_t groups[MOST_GROUPS];
  size_t group_count;
  pid_t parent;
  char **command;
};

static void fail(int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("launcher: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(code);
}

/* Ends if what was tried failed. */
static long must(long result, const char *what) {
  if (result < 0) fail(EX_OSERR, "%s: %s", what, strerror(errno));
  return result;
}

/* A number that ends at `end`; all ones is no user, group or process. */
static unsigned long number(const char *text, char **end) {
  if (*text < '0' || *text > '9') fail(EX_USAGE, "a number is needed");
  errno = 0;
  unsigned long value = strtoul(text, end, 10);
  if (errno != 0 || value >= 0xffffffffUL) fail(EX_USAGE, "a number is too large");
  return value;
}

static void parse_user(struct order *order, const char *text) {
  char *end;
  order->uid = (uid_t)number(text, &end);
  while (*end == ':' && order->group_count < MOST_GROUPS) order->groups[order->group_count++] = (gid_t)number(end + 1, &end);
  if (*end != '\0' || order->group_count == 0) fail(EX_USAGE, "--user takes UID:GID, and up to 31 groups more");
  order->switches_user = 1;
}

static enum socket_family parse_family(const char *text) {
  if (strcmp(text, "none") == 0) return NONE;
  if (strcmp(text, "unix") == 0) return UNIX;
  if (strcmp(text, "inet") != 0) fail(EX_USAGE, "--socket takes none, unix or inet");
  return INET;
}

static enum role parse_role(const char *text) {
  if (strcmp(text, "supervisor") == 0) return SUPERVISOR;
  if (strcmp(text, "gateway") == 0) return GATEWAY;
  if (strcmp(text, "vault") != 0) fail(EX_USAGE, "--role takes supervisor, gateway or vault");
  return VAULT;
}

static struct order parse(char **argument) {
  struct order order = {.role = NO_ROLE, .family = NONE};
  for (argument++; *argument != NULL && strcmp(*argument, "--") != 0; argument += 2) {
    const char *name = argument[0], *value = argument[1];
    char *end = "";
    if (value == NULL) fail(EX_USAGE, "%s needs a value", name);
    if (strcmp(name, "--role") == 0) order.role = parse_role(value);
    else if (strcmp(name, "--socket") == 0) order.family = parse_family(value);
    else if (strcmp(name, "--bridge") == 0) order.bridge = value;
    else if (strcmp(name, "--user") == 0) parse_user(&order, value);
    else if (strcmp(name, "--parent") == 0) order.parent = (pid_t)number(value, &end);
    else fail(EX_USAGE, "%s %s is not known", name, value);
    if (*end != '\0') fail(EX_USAGE, "%s takes a number", name);
  }
  if (order.role == NO_ROLE) fail(EX_USAGE, "--role is needed");
  if (order.role != SUPERVISOR && order.parent == 0) fail(EX_USAGE, "--parent is needed");
  if (*argument == NULL || argument[1] == NULL) fail(EX_USAGE, "a program is needed, after --");
  order.command = argument + 1;
  if (order.role == GATEWAY) order.family = INET;
  return order;
}

/*
 * Leaves a core no room, and none of the memory to hold (M-30). Both outlive the execution of the program.
 *
 * Where cores go through a pipe, the kernel takes no heed of a limit of 0, and heed of 1 byte; where they go to a socket (Linux 6.16),
 * of none, and registers are left to hold. Where /proc cannot be written to, the limit has to do.
 */
static void forbid_cores(void) {
  struct rlimit limit;
  char first = '|';
  int held = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
  if (held >= 0) must(write(held, "0", 1), "coredump_filter");
  close(held);
  must(getrlimit(RLIMIT_CORE, &limit), "getrlimit");
  if (setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1}) == 0) return;
  if (limit.rlim_max != 0) fail(EX_OSERR, "setrlimit: %s", strerror(errno));
  /* Not everybody may raise a hard limit of 0, and where cores are files it will do. */
  int pattern = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
  if (read(pattern, &first, 1) != 1 || first == '|')
    fail(EX_OSERR, "cores go through a pipe here, of which a hard limit of 0 is no limit: start this with one of 1 byte");
  close(pattern);
}

/* Standard input, output and error, and node's channel to the supervisor, are all that is inherited. */
static void close_inherited(void) {
  const char *text = getenv("NODE_CHANNEL_FD");
  char *end = "";
  unsigned channel = text == NULL ? 2 : (unsigned)number(text, &end);
  if (*end != '\0') fail(EX_USAGE, "NODE_CHANNEL_FD is no number");
  if (channel > 3) must(close_range(3, channel - 1, 0), "close_range");
  must(close_range(channel < 3 ? 3 : channel + 1, ~0U, 0), "close_range");
}

static void open_bridge(const struct order *order) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(order->bridge) >= sizeof address.sun_path) fail(EX_USAGE, "--bridge: the path is too long");
  strcpy(address.sun_path, order->bridge);
  if (fcntl(BRIDGE_FD, F_GETFD) >= 0) fail(EX_USAGE, "--bridge: descriptor 4 is taken");
  int bridge = (int)must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
  int (*attach)(int, const struct sockaddr *, socklen_t) = order->role == GATEWAY ? bind : connect;
  must(attach(bridge, (struct sockaddr *)&address, sizeof address), "--bridge");
  if (bridge == BRIDGE_FD) return;
  must(dup2(bridge, BRIDGE_FD), "dup2");
  close(bridge);
}

/* What node does when it starts, and may not do any more. */
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

/* No capability outlives the execution of the program, not even root's. */
static void drop_capabilities(void) {
  /* Without CAP_SETPCAP nothing can be taken out of the set; of all users only root would gain by executing. */
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM) must(-1, "PR_CAPBSET_DROP");
  must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT");
}

static void become_user(const struct order *order) {
  must(setgroups(order->group_count - 1, order->groups + 1), "setgroups");
  must(setresgid(order->groups[0], order->groups[0], order->groups[0]), "setresgid");
  must(setresuid(order->uid, order->uid, order->uid), "setresuid");
}

/*
 * Puts the process into a Landlock domain of its own, in which it may not trace or open the memory of any process outside,
 * even of the same user. Nothing else changes: files may be moved between folders everywhere.
 * Where the kernel has no Landlock of version 2 or newer, separate users or Yama have to see to it.
 */
static void enter_domain(void) {
  struct landlock_ruleset_attr rules = {.handled_access_fs = LANDLOCK_ACCESS_FS_REFER};
  if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2) return;
  int ruleset = (int)must(syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0), "landlock_create_ruleset");
  struct landlock_path_beneath_attr everywhere = {
      .allowed_access = LANDLOCK_ACCESS_FS_REFER, .parent_fd = (int)must(open("/", O_PATH | O_CLOEXEC), "/")};
  must(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &everywhere, 0), "landlock_add_rule");
  must(syscall(SYS_landlock_restrict_self, ruleset, 0), "landlock_restrict_self");
  close(everywhere.parent_fd);
  close(ruleset);
}

static struct sock_filter filter[512];
static unsigned short length;

static void put(unsigned short code, unsigned value, unsigned char if_true, unsigned char if_false) {
  if (length == sizeof filter / sizeof *filter) fail(EX_OSERR, "the filter is too long");
  filter[length++] = (struct sock_filter){code, if_true, if_false, value};
}

static void load(size_t offset) { put(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset, 0, 0); }
/* Half of an argument: the low one is 0, since both architectures are little-endian. */
static void load_argument(int n, int half) { load(offsetof(struct seccomp_data, args) + 8 * (size_t)n + 4 * (size_t)half); }
static void give(unsigned action) { put(BPF_RET | BPF_K, action, 0, 0); }
static void if_equal(unsigned value, unsigned action) {
  put(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
  give(action);
}

#define ALLOWED SECCOMP_RET_ALLOW
#define DENIED (SECCOMP_RET_ERRNO | EPERM)
#define UNKNOWN (SECCOMP_RET_ERRNO | ENOSYS)

/* Begins what is asked of a call's arguments; every way through it ends with give(), at which end_call() ends it. */
static unsigned short begin_call(int call) {
  put(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 0);
  return (unsigned short)(length - 1);
}
static void end_call(unsigned short began) { filter[began].jf = (unsigned char)(length - began - 1); }

/* Denies a call unless an argument has this value, in the low half or in both, as the kernel reads it. */
static void only_if(int call, int argument, uint64_t value, int halves) {
  unsigned short began = begin_call(call);
  for (int half = 0; half < halves; half++) {
    load_argument(argument, half);
    put(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value >> (32 * half)), 1, 0);
    give(DENIED);
  }
  give(ALLOWED);
  end_call(began);
}

/* Denies a call if an argument, of which the kernel reads the low half, has one of these values; the last is 0. */
static void unless(int call, int argument, const unsigned *values) {
  unsigned short began = begin_call(call);
  load_argument(argument, 0);
  for (; *values != 0; values++) if_equal(*values, DENIED);
  give(ALLOWED);
  end_call(began);
}

static const int DENIED_CALLS[] = {
    /* no program, no process */
    __NR_execveat,
#ifdef __NR_fork
    __NR_fork, __NR_vfork,
#endif
    /* nobody else's memory, descriptors or signals */
    __NR_ptrace, __NR_process_vm_readv, __NR_process_vm_writev, __NR_process_madvise, __NR_move_pages,
    __NR_migrate_pages, __NR_kcmp, __NR_pidfd_getfd, __NR_pidfd_send_signal, __NR_tkill, __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo, __NR_perf_event_open,
    __NR_userfaultfd, __NR_bpf, __NR_add_key, __NR_request_key, __NR_keyctl,
    /* no other user, limit or view of the machine */
    __NR_setuid, __NR_setgid, __NR_setreuid, __NR_setregid, __NR_setresuid, __NR_setresgid, __NR_setfsuid, __NR_setfsgid,
    __NR_setgroups, __NR_capset, __NR_setrlimit, __NR_personality, __NR_unshare, __NR_setns, __NR_chroot, __NR_pivot_root,
    __NR_mount, __NR_umount2, __NR_move_mount, __NR_open_tree, __NR_fsopen, __NR_fsconfig, __NR_fsmount, __NR_fspick,
    __NR_mount_setattr, __NR_open_by_handle_at, __NR_fanotify_init,
    /* nothing of the machine's own */
    __NR_init_module, __NR_finit_module, __NR_delete_module, __NR_kexec_load, __NR_kexec_file_load, __NR_reboot, __NR_syslog,
    __NR_acct, __NR_quotactl, __NR_quotactl_fd, __NR_swapon, __NR_swapoff, __NR_vhangup, __NR_sethostname, __NR_setdomainname,
    __NR_settimeofday, __NR_adjtimex, __NR_clock_settime, __NR_clock_adjtime,
#ifdef __x86_64__
    __NR_iopl, __NR_ioperm, __NR_modify_ldt,
#endif
};

/* What a call through a ring does, no filter sees; clone3 hides its flags behind a pointer. */
static const int UNKNOWN_CALLS[] = {__NR_io_uring_setup, __NR_io_uring_enter, __NR_io_uring_register, __NR_clone3};

static void filter_sockets(int call, enum socket_family family) {
  unsigned short began = begin_call(call);
  load_argument(0, 0);
  if (family == UNIX) if_equal(AF_UNIX, ALLOWED);
  if (family == INET) {
    if_equal(AF_INET, ALLOWED);
    if_equal(AF_INET6, ALLOWED);
  }
  give(DENIED);
  end_call(began);
}

/*
 * The one program is executed by the one call of execve with this word as its sixth argument, which the kernel passes to the
 * filter and reads for nothing. A path could not be told from another, and a descriptor does not bind: execveat ignores it
 * for a path that begins with a slash.
 */
static void build_filter(const struct order *order, uint64_t word) {
  load(offsetof(struct seccomp_data, arch));
  put(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
  give(SECCOMP_RET_KILL_PROCESS);
  load(offsetof(struct seccomp_data, nr));
#ifdef X32_BIT
  put(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
  give(SECCOMP_RET_KILL_PROCESS);
#endif
  put(BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 0, 1);
  give(UNKNOWN);
  for (size_t i = 0; i < sizeof UNKNOWN_CALLS / sizeof *UNKNOWN_CALLS; i++) if_equal((unsigned)UNKNOWN_CALLS[i], UNKNOWN);
  for (size_t i = 0; i < sizeof DENIED_CALLS / sizeof *DENIED_CALLS; i++) if_equal((unsigned)DENIED_CALLS[i], DENIED);

  only_if(__NR_execve, 5, word, 2);

  unsigned short began = begin_call(__NR_clone);
  load_argument(0, 0);
  put(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
  give(ALLOWED);
  give(DENIED);
  end_call(began);

  only_if(__NR_kill, 0, (uint64_t)getpid(), 1);
  only_if(__NR_tgkill, 0, (uint64_t)getpid(), 1);
  /* glibc reads a limit with the call that sets one: then the pointer to the new one is NULL. */
  only_if(__NR_prlimit64, 2, 0, 2);
  unless(__NR_prctl, 0, (const unsigned[]){PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER, 0});
  /* Who owns a descriptor is sent signals for it; standard error may be the operator's terminal, which can be typed into. */
  unless(__NR_fcntl, 1, (const unsigned[]){F_SETOWN, F_SETOWN_EX, 0});
  unless(__NR_ioctl, 1, (const unsigned[]){FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX, 0});

  filter_sockets(__NR_socket, order->family);
  filter_sockets(__NR_socketpair, order->family);
  if (order->role == VAULT) {
    if_equal(__NR_listen, DENIED);
    if_equal(__NR_accept, DENIED);
    if_equal(__NR_accept4, DENIED);
  }
  give(ALLOWED);
}

int main(int count, char **argument) {
  if (count == 0) return EX_USAGE;
  struct order order = parse(argument);
  extern char **environ;

  forbid_cores();
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  if (order.role == SUPERVISOR) {
    execv(order.command[0], order.command);
    fail(EX_OSERR, "%s: %s", order.command[0], strerror(errno));
  }
  umask(077);
  close_inherited();
  if (order.bridge != NULL) open_bridge(&order);
  raise_descriptor_limit();
  drop_capabilities();
  if (order.switches_user) become_user(&order);
  /* After the user, whose change takes it back. Whose parent ended before it would wait for it for ever. */
  must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG");
  if (getppid() != order.parent) fail(EX_OSERR, "whoever started this has ended");
  enter_domain();
  uint64_t word;
  must(getrandom(&word, sizeof word, 0), "getrandom");
  build_filter(&order, word);
  struct sock_fprog whole = {.len = length, .filter = filter};
  must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &whole), "the kernel takes no seccomp filter");
  syscall(SYS_execve, order.command[0], order.command, environ, 0, 0, word);
  fail(EX_OSERR, "%s: %s", order.command[0], strerror(errno));
}
