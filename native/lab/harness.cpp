// Loads a whole register state, jumps into code, and takes the whole state down again when the code jumps to the landing.
#include <signal.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "lab/machine.h"
#include "lab/run.h"

static_assert(offsetof(FaseLabState, opmask) == 2048 && offsetof(FaseLabState, gpr) == 2112 && offsetof(FaseLabState, rflags) == 2240 &&
              offsetof(FaseLabState, mxcsr) == 2248);

// void fase_lab_enter(FaseLabState*, code, int avx512)
asm(R"(
  .pushsection .bss
  .balign 8
  fase_lab_state: .skip 8
  fase_lab_target: .skip 8
  fase_lab_rsp: .skip 8
  fase_lab_wide: .skip 8
  fase_lab_rax: .skip 8
  .popsection
  .text
  .type fase_lab_enter, @function
fase_lab_enter:
  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
  mov %rdi, fase_lab_state(%rip)
  mov %rsi, fase_lab_target(%rip)
  mov %rsp, fase_lab_rsp(%rip)
  movslq %edx, %rdx
  mov %rdx, fase_lab_wide(%rip)
  mov %rdi, %rax
  test %edx, %edx
  jz 1f
  .irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovups 64*\r(%rax), %zmm\r
  .endr
  .irp r,0,1,2,3,4,5,6,7
  kmovq 2048+8*\r(%rax), %k\r
  .endr
  jmp 2f
1:
  .irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups 64*\r(%rax), %ymm\r
  .endr
2:
  ldmxcsr 2248(%rax)
  sub $4096, %rsp
  pushq 2240(%rax)
  popfq
  mov 2112+8*1(%rax), %rcx
  mov 2112+8*2(%rax), %rdx
  mov 2112+8*3(%rax), %rbx
  mov 2112+8*5(%rax), %rbp
  mov 2112+8*6(%rax), %rsi
  mov 2112+8*7(%rax), %rdi
  mov 2112+8*8(%rax), %r8
  mov 2112+8*9(%rax), %r9
  mov 2112+8*10(%rax), %r10
  mov 2112+8*11(%rax), %r11
  mov 2112+8*12(%rax), %r12
  mov 2112+8*13(%rax), %r13
  mov 2112+8*14(%rax), %r14
  mov 2112+8*15(%rax), %r15
  mov 2112+8*0(%rax), %rax
  jmp *fase_lab_target(%rip)

  .globl fase_lab_landing
  .hidden fase_lab_landing
fase_lab_landing:
  mov %rax, fase_lab_rax(%rip)
  mov fase_lab_state(%rip), %rax
  mov %rcx, 2112+8*1(%rax)
  mov %rdx, 2112+8*2(%rax)
  mov %rbx, 2112+8*3(%rax)
  mov %rsp, 2112+8*4(%rax)
  mov %rbp, 2112+8*5(%rax)
  mov %rsi, 2112+8*6(%rax)
  mov %rdi, 2112+8*7(%rax)
  mov %r8, 2112+8*8(%rax)
  mov %r9, 2112+8*9(%rax)
  mov %r10, 2112+8*10(%rax)
  mov %r11, 2112+8*11(%rax)
  mov %r12, 2112+8*12(%rax)
  mov %r13, 2112+8*13(%rax)
  mov %r14, 2112+8*14(%rax)
  mov %r15, 2112+8*15(%rax)
  mov fase_lab_rax(%rip), %rcx
  mov %rcx, 2112(%rax)
  mov fase_lab_rsp(%rip), %rsp
  pushfq
  popq 2240(%rax)
  stmxcsr 2248(%rax)
  cld
  cmpq $0, fase_lab_wide(%rip)
  jz 1f
  .irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovups %zmm\r, 64*\r(%rax)
  .endr
  .irp r,0,1,2,3,4,5,6,7
  kmovq %k\r, 2048+8*\r(%rax)
  .endr
  jmp 2f
1:
  .irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups %ymm\r, 64*\r(%rax)
  .endr
2:
  vzeroupper
  push $0x1f80
  ldmxcsr (%rsp)
  pop %rcx
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
  ret
  .size fase_lab_enter, . - fase_lab_enter
)");

extern "C" void fase_lab_enter(FaseLabState*, const void*, int);
extern "C" char fase_lab_landing[] __attribute__((visibility("hidden")));

namespace fase::lab {
namespace {

struct Run {
  const core::Translation* translation;
  std::uint64_t code;
  FaseLabFault* fault;
  core::GuestState guest;
  bool active = false;
};
Run run_;

bool in_code(std::uint64_t rip) { return run_.translation != nullptr && rip >= run_.code && rip < run_.code + run_.translation->size; }

/// Kernel numbering of general registers to encoding order.
constexpr int kContextOf[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

void on_fault(int, siginfo_t* info, void* raw) {
  auto& context = static_cast<ucontext_t*>(raw)->uc_mcontext;
  const auto rip = static_cast<std::uint64_t>(context.gregs[REG_RIP]);
  if (!run_.active) {
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  FaseLabFault& f = *run_.fault;
  if (in_code(rip)) {
    run_.guest = core::guest_state(*run_.translation, static_cast<std::uint32_t>(rip - run_.code));
    if (run_.guest.counter_access) {
      Ground& g = ground();
      *g.counter_pointer = g.counters;
      context.gregs[kContextOf[run_.guest.counter_base]] = reinterpret_cast<greg_t>(g.counters);
      ++f.counter_faults;
      return;
    }
    f.not_emulated = run_.guest.not_executed.emulated;
    f.not_excluded = run_.guest.not_executed.excluded;
    f.not_fp64 = run_.guest.not_executed.fp64;
    f.not_fp64_emulated = run_.guest.not_executed.fp64_emulated;
    f.not_dots_emulated = run_.guest.not_executed.dots_emulated;
    f.not_dots = run_.guest.not_executed.dots;
    f.not_conversions = run_.guest.not_executed.conversions;
  } else {
    run_.guest = {};
    run_.guest.rip = rip;
  }
  f.rip = rip;
  f.guest_rip = run_.guest.rip;
  f.address = reinterpret_cast<std::uint64_t>(info->si_addr);
  context.gregs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<std::uint64_t>(fase_lab_landing));
}

/// Registers that were in scratch at the fault.
void take_from_scratch(FaseLabState& state) {
  const Ground& g = ground();
  for (const core::Spilled& s : run_.guest.spilled) {
    const std::uint8_t* home = g.scratch + (s.fs_offset - g.layout.vectors);
    switch (s.file) {
      case core::RegisterFile::vector: std::memcpy(state.vector[s.index], home, g.avx512 ? 64 : 32); break;
      case core::RegisterFile::gpr: std::memcpy(&state.gpr[s.index], home, 8); break;
      case core::RegisterFile::opmask: std::memcpy(&state.opmask[s.index], home, 8); break;
    }
  }
  for (const core::Total& total : run_.guest.totals) {
    float value[16];
    std::memcpy(value, state.vector[total.index], sizeof value);
    core::add_total(value, g.scratch + (total.fs_offset - g.layout.vectors), total.lanes);
    std::memcpy(state.vector[total.index], value, sizeof value);
  }
  for (unsigned r = 0; r < 32; ++r) {
    std::uint8_t* high = state.vector[run_.guest.layout.high[r]];
    if (run_.guest.upper >> r & 1) std::memcpy(high, state.vector[r] + 32, 32), std::memset(high + 32, 0, 32);
    if (run_.guest.narrow >> r & 1) std::memset(state.vector[r] + 32, 0, 32);
  }
}

}  // namespace

std::uint64_t landing() { return reinterpret_cast<std::uint64_t>(fase_lab_landing); }

int run(std::uint64_t address, FaseLabState& state, FaseLabFault& fault, const core::Translation* translation, std::uint64_t code) {
  fault = {};
  run_ = {translation, code, &fault, {}, true};
  struct sigaction action {
  }, old_segv{}, old_bus{}, old_ill{};
  static std::uint8_t* stack = static_cast<std::uint8_t*>(std::malloc(1 << 16));
  stack_t alternative{stack, 0, 1 << 16}, old_stack{};
  sigaltstack(&alternative, &old_stack);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  sigaction(SIGILL, &action, &old_ill);
  fase_lab_enter(&state, reinterpret_cast<const void*>(address), ground().avx512);
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  sigaction(SIGILL, &old_ill, nullptr);
  sigaltstack(&old_stack, nullptr);
  run_.active = false;
  if (fault.rip == 0) return 0;
  take_from_scratch(state);
  return 1;
}

}  // namespace fase::lab
