// Counts the FMA instructions that a program and its children execute, by single-stepping them: the oracle for the counts that the test programs claim.
//   step_count PROGRAM ARG...      prints `steps` and `stepped` to stderr as its last lines; the exit status is the program's
// Only for small runs: about 300,000 instructions a second.
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kTasks = 1 << 16 };

// VEX.map2 or EVEX.map2 with mandatory prefix 66 and an FMA3 opcode. The caller knows that `p` is an instruction.
static int is_fma(const uint8_t *p) {
  int opcode;
  if (p[0] == 0x64 || p[0] == 0x65) p++;  // fs, gs
  if (p[0] == 0xc4 && (p[1] & 0x1f) == 2 && (p[2] & 3) == 1)
    opcode = p[3];
  else if (p[0] == 0x62 && (p[1] & 7) == 2 && (p[2] & 3) == 1)
    opcode = p[4];
  else
    return 0;
  int column = opcode & 15, row = opcode >> 4;
  return (row == 9 || row == 0xa || row == 0xb) && column >= 6;
}

static struct {
  uint64_t rip;  // the FMA that is about to run and has been counted; 0 when none
} pending[kTasks];

static long count, steps;

static void look(pid_t task) {
  struct user_regs_struct r;
  uint8_t code[16] = {0};
  if (ptrace(PTRACE_GETREGS, task, 0, &r)) return;
  struct iovec to = {code, sizeof code}, from = {(void *)r.rip, sizeof code};
  if (process_vm_readv(task, &to, 1, &from, 1, 0) < 6) {
    from.iov_len = 4096 - (r.rip & 4095);  // the next page is not readable
    if (process_vm_readv(task, &to, 1, &from, 1, 0) < 1) return;
  }
  steps++;
  pending[task % kTasks].rip = is_fma(code) ? r.rip : 0;
  count += is_fma(code);
}

// A signal arrived before the FMA that was counted has run (it faulted, or was not reached yet): it will be counted when it runs.
static void take_back(pid_t task) {
  struct user_regs_struct r;
  if (!ptrace(PTRACE_GETREGS, task, 0, &r) && pending[task % kTasks].rip == r.rip && r.rip) count--;
  pending[task % kTasks].rip = 0;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  pid_t first = fork();
  if (!first) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execvp(argv[1], argv + 1);
    _exit(127);
  }
  int status, result = 1;
  waitpid(first, &status, 0);
  ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC);
  ptrace(PTRACE_SINGLESTEP, first, 0, 0);
  for (pid_t task; (task = waitpid(-1, &status, __WALL)) > 0;) {
    if (!WIFSTOPPED(status)) {
      if (task == first) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      continue;
    }
    int signal = WSTOPSIG(status);
    siginfo_t info;
    int group_stop = ptrace(PTRACE_GETSIGINFO, task, 0, &info) && errno == EINVAL;
    if (status >> 16 || group_stop) {
      signal = 0;  // an event: fork, clone, exec
    } else if (signal == SIGTRAP && info.si_code > 0) {
      look(task);
      signal = 0;
    } else if (signal == SIGSTOP && info.si_code <= 0) {
      signal = 0;  // the first stop of a new task
    } else {
      take_back(task);
    }
    ptrace(PTRACE_SINGLESTEP, task, 0, signal);
  }
  fprintf(stderr, "steps %ld\nstepped %ld\n", steps, count);
  return result;
}
