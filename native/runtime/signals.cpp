#include "runtime/signals.h"

#include <errno.h>

#include <cstddef>

#include <cstring>

#include "runtime/context.h"
#include "runtime/engine.h"
#include "runtime/listener.h"
#include "runtime/thread.h"

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

namespace fase::runtime {
namespace {

constexpr int kSignals = 65;
constexpr std::uint64_t kSegv = sys::signal_bit(SIGSEGV);
constexpr std::uint32_t kRoundingMode = 0x6000;  // of MXCSR; zero: to nearest

Engine* engine;
int owner_process;
sys::KernelSigaction guest[kSignals];  // the program's handlers; for SIGSEGV also SIG_DFL and SIG_IGN

// Unwinders know a signal frame by these bytes at the return address, where no other function's unwind information covers the byte before; a stack that
// was left is found by the frame of the call that left it.
extern "C" void fase_sigreturn();
extern "C" void fase_call_on(std::uint8_t* top, void (*function)(void*), void* argument);
asm(".text\n.hidden fase_sigreturn, fase_call_on\n.globl fase_sigreturn, fase_call_on\n"
    "nop\nfase_sigreturn:\n mov $15, %rax\n syscall\n"
    "fase_call_on:\n.cfi_startproc\n"
    " push %rbx\n.cfi_def_cfa_offset 16\n.cfi_offset rbx, -16\n mov %rsp, %rbx\n.cfi_def_cfa_register rbx\n"
    " mov %rdi, %rsp\n mov %rdx, %rdi\n call *%rsi\n"
    " mov %rbx, %rsp\n.cfi_def_cfa_register rsp\n pop %rbx\n.cfi_def_cfa_offset 8\n ret\n.cfi_endproc\n");

// Translation needs more stack than a thread may have left (an alternate stack can be 8 KiB): it runs on a stack of the engine's, guarded by its lock.
constexpr std::size_t kStackBytes = 512 * 1024;
std::uint8_t* engine_stack_top;

template <typename Function>
void run_on_stack(std::uint8_t* top, Function& function) {
  fase_call_on(
      top, [](void* p) { (*static_cast<Function*>(p))(); }, &function);
}

template <typename Function>
void with_engine(Function function) {
  LockedWithoutSignals locked(engine->lock());
  auto work = [&] {
    engine->follow_control();
    function();
  };
  run_on_stack(engine_stack_top, work);
}

bool on_engine_stack() {
  auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  return here - reinterpret_cast<std::uint64_t>(thread_block.engine_stack) < kSignalStack;
}

bool synchronous(int sig, const siginfo_t* info) {
  bool hardware = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP;
  return hardware && info->si_code > 0;
}

void subtract_not_executed(const GuestPoint& point) {
  const core::Segment& missing = point.state.not_executed;
  auto& counts = engine->record().header().not_executed;
  counts[point.mode][0] += missing.emulated;
  counts[point.mode][1] += missing.excluded;
  counts[point.mode][2] += missing.fp64;
  counts[point.mode][3] += missing.fp64_emulated;
  counts[point.dot_mode][4] += missing.dots_emulated;
  counts[point.dot_mode][5] += missing.dots;
  counts[point.dot_mode][6] += missing.conversions;
}

/// A fault of the program's own inside emitted code: let the frame say what the guest would see. False when that is not known.
bool present_guest(ucontext_t* context) {
  bool known = false;
  with_engine([&] {
    GuestPoint point;
    known = engine->locate(instruction_pointer(context), point);
    if (known) {
      subtract_not_executed(point);
      show_guest(context, point.state);
    }
  });
  return known;
}

bool give_counters(ucontext_t* context) {
  bool done = false;
  with_engine([&] {
    GuestPoint point;
    if (!engine->locate(instruction_pointer(context), point) || !point.state.counter_access) return;
    adopt_thread(engine->record());
    if (!thread_block.has_guest_stack) context->uc_stack = engine_signal_stack();  // sigreturn sets what the frame says
    set_gpr(context, point.state.counter_base, reinterpret_cast<std::uint64_t>(thread_block.counters));
    done = true;
  });
  return done;
}

/// True when the fault was the engine's business and the program goes on.
bool handle(const siginfo_t* info, ucontext_t* context) {
  auto address = reinterpret_cast<core::Address>(info->si_addr);
  core::Address rip = instruction_pointer(context);
  if (is_fetch(context)) {
    bool done = false;
    with_engine([&] {
      if (engine->in_lazy_window(address)) {
        set_instruction_pointer(context, engine->enter(address));
        done = true;
      } else {
        done = engine->fetch_fault(address, rip);
      }
    });
    if (engine->in_lazy_window(address) && sys::process() == owner_process) start_listener(*engine);
    return done;
  }
  if (thread_block.counters == nullptr && engine->in_emitted_code(rip) && give_counters(context)) return true;
  bool done = false;
  if (is_write(context)) with_engine([&] { done = engine->write_fault(address); });
  return done;
}

/// On the program's stack when the kernel delivered on ours: the program asked for no other.
void call_guest(const sys::KernelSigaction& action, int sig, siginfo_t* info, void* raw) {
  auto handler = reinterpret_cast<void (*)(int, siginfo_t*, void*)>(action.handler);
  auto* context = static_cast<ucontext_t*>(raw);
  bool on_ours = context->uc_stack.ss_sp == thread_block.engine_stack && thread_block.engine_stack != nullptr && on_engine_stack();
  if (!on_ours) {
    handler(sig, info, raw);
    return;
  }
  constexpr std::uint64_t kRedZone = 128;
  const core::Address outer = thread_block.handler;
  thread_block.handler = (stack_pointer(context) - kRedZone) & ~std::uint64_t{15};
  auto call = [&] { handler(sig, info, raw); };
  run_on_stack(reinterpret_cast<std::uint8_t*>(thread_block.handler), call);
  thread_block.handler = outer;
}

/// A handler disarms our stack, and while it runs the frames on it are wanted: not so when it has left by longjmp, back to a caller.
bool engine_stack_is_left(const ucontext_t* context) {
  constexpr std::uint64_t kOneStack = 1 << 26;
  if (thread_block.engine_stack == nullptr || on_engine_stack()) return false;
  if (thread_block.handler != 0 && stack_pointer(context) - thread_block.handler - 1 >= kOneStack) return false;
  thread_block.handler = 0;
  return true;
}

bool is_function(const void* handler) { return handler != reinterpret_cast<void*>(SIG_DFL) && handler != reinterpret_cast<void*>(SIG_IGN); }

[[noreturn]] void die_by(int sig) {
  sys::KernelSigaction fallback{};
  sys::sigaction(sig, &fallback, nullptr);
  std::uint64_t set = sys::signal_bit(sig);
  sys::signal_mask(SIG_UNBLOCK, &set, nullptr);
  sys::signal_thread(sys::process(), sys::thread(), sig);
  sys::exit_group(128 + sig);
}

/// The program's own SIGSEGV: its handler, or its end.
void forward(siginfo_t* info, ucontext_t* context) {
  sys::KernelSigaction action = guest[SIGSEGV];
  bool hardware = synchronous(SIGSEGV, info);
  if (!hardware && thread_block.segv_blocked) {
    thread_block.segv_pending = true;
    return;
  }
  bool inside = engine->in_emitted_code(instruction_pointer(context));
  if (hardware && inside) present_guest(context);
  if (!is_function(action.handler) || (hardware && thread_block.segv_blocked)) {
    if (!hardware && action.handler == reinterpret_cast<void*>(SIG_IGN)) return;
    if (!hardware || inside) die_by(SIGSEGV);
    sys::KernelSigaction fallback{};
    sys::sigaction(SIGSEGV, &fallback, nullptr);  // the instruction faults again, and the core shows it
    return;
  }
  if ((action.flags & SA_RESETHAND) != 0) guest[SIGSEGV].handler = reinterpret_cast<void*>(SIG_DFL);
  std::uint64_t mask = 0;
  std::memcpy(&mask, &context->uc_sigmask, sizeof mask);
  mask = without_segv(mask | action.mask);
  sys::signal_mask(SIG_SETMASK, &mask, nullptr);
  call_guest(action, SIGSEGV, info, context);
}

void on_fault(int, siginfo_t* info, void* raw) {
  auto* context = static_cast<ucontext_t*>(raw);
  if (!thread_block.has_guest_stack && engine_stack_is_left(context)) context->uc_stack = engine_signal_stack();
  if (info->si_code > 0 && info->si_code != SI_KERNEL && handle(info, context)) return;
  forward(info, context);
}

/// What interrupted emitted code stands for.
struct Shown {
  core::Address rip = 0;        // the guest instruction; 0 when none is known
  std::int32_t mxcsr_home = 0;  // as in GuestState
  bool to_nearest = false;      // the same
};

std::uint8_t* in_copy(ThreadBlock& copy, const std::uint8_t* scratch) {
  return reinterpret_cast<std::uint8_t*>(&copy) + (scratch - reinterpret_cast<const std::uint8_t*>(&thread_block));
}

/// Exchanges what the frame and the copy of scratch hold of the registers that emitted code has borrowed.
void exchange_borrowed(ucontext_t* context, const core::GuestState& state, ThreadBlock& copy) {
  for (const core::Spilled& spilled : state.spilled) exchange(context, spilled, in_copy(copy, in_scratch(spilled.fs_offset)));
}

/// The frame shows the program's registers, as far as they are known, and `copy` keeps what the region had in them.
Shown show_interrupted(ucontext_t* context, ThreadBlock& copy) {
  Shown shown;
  with_engine([&] {
    GuestPoint point;
    if (!engine->locate(instruction_pointer(context), point)) return;
    shown = {point.state.rip, point.state.mxcsr_home, point.state.to_nearest};
    exchange_borrowed(context, point.state, copy);
  });
  return shown;
}

/// The other way, before the region goes on: what a handler has changed in the frame is the program's from now on.
void hide_interrupted(ucontext_t* context, core::Address emitted, ThreadBlock& copy) {
  with_engine([&] {
    GuestPoint point;
    if (engine->locate(emitted, point)) exchange_borrowed(context, point.state, copy);
  });
}

/// The program goes on elsewhere: what the region still keeps becomes the program's.
void leave_interrupted(ucontext_t* context, core::Address emitted) {
  with_engine([&] {
    GuestPoint point;
    if (!engine->locate(emitted, point)) return;
    subtract_not_executed(point);
    show_sums(context, point.state);
  });
}

/// Our handlers begin with every signal blocked: another one's handler must not run before scratch has been put aside, nor once it is back. From here on
/// the mask is what the program's handler expects.
void open_mask(const sys::KernelSigaction& action, int sig, const ucontext_t* context) {
  std::uint64_t mask = 0;
  std::memcpy(&mask, &context->uc_sigmask, sizeof mask);
  mask = without_segv(mask | action.mask | ((action.flags & SA_NODEFER) != 0 ? 0 : sys::signal_bit(sig)));
  sys::signal_mask(SIG_SETMASK, &mask, nullptr);
}

void close_mask() {
  const std::uint64_t all = ~std::uint64_t{0};
  sys::signal_mask(SIG_SETMASK, &all, nullptr);
}

/// An interrupted region goes on after the handler: what it keeps in scratch is put aside, since the handler may run emulated code too. The handler,
/// profilers and unwinders see the program's own address, registers and MXCSR, and what is changed there is the program's; where a loop counts on the
/// rounding mode, a change of that ends the process. A handler that changes the address, throws, or leaves by longjmp, leaves the region for good.
void interrupt(const sys::KernelSigaction& action, int sig, siginfo_t* info, ucontext_t* context) {
  ThreadBlock saved;
  std::memcpy(&saved, &thread_block, offsetof(ThreadBlock, counters));
  const core::Address emitted = instruction_pointer(context);
  const std::uint32_t own_mxcsr = mxcsr(context);
  const Shown shown = show_interrupted(context, saved);
  if (shown.rip != 0) set_instruction_pointer(context, shown.rip);
  if (shown.mxcsr_home != 0) set_mxcsr(context, scratch_dword(shown.mxcsr_home));
  open_mask(action, sig, context);
  call_guest(action, sig, info, context);
  close_mask();
  const bool goes_on = instruction_pointer(context) == (shown.rip != 0 ? shown.rip : emitted);
  const std::uint32_t wanted_mxcsr = mxcsr(context);
  if (goes_on && shown.to_nearest && (wanted_mxcsr & kRoundingMode) != 0)
    die(Line() << "a signal handler changed the rounding mode of a loop that is emulated for rounding to nearest only; try --isa avx2");
  if (goes_on && shown.rip != 0) hide_interrupted(context, emitted, saved);
  std::memcpy(&thread_block, &saved, offsetof(ThreadBlock, counters));
  if (!goes_on) return leave_interrupted(context, emitted);
  set_instruction_pointer(context, emitted);
  if (shown.mxcsr_home != 0) {
    set_mxcsr(context, own_mxcsr);
    set_scratch_dword(shown.mxcsr_home, wanted_mxcsr);
  }
}

/// Under every handler of the program.
void on_signal(int sig, siginfo_t* info, void* raw) {
  auto* context = static_cast<ucontext_t*>(raw);
  sys::KernelSigaction action = guest[sig];
  if ((action.flags & SA_RESETHAND) != 0) {
    sys::KernelSigaction fallback{};
    sys::sigaction(sig, &fallback, nullptr);
  }
  const bool inside = engine->in_emitted_code(instruction_pointer(context));
  if (inside && !synchronous(sig, info)) return interrupt(action, sig, info, context);
  if (inside) present_guest(context);
  open_mask(action, sig, context);
  call_guest(action, sig, info, raw);
}

sys::KernelSigaction to_kernel(const struct sigaction& action) {
  sys::KernelSigaction kernel{};
  kernel.handler = reinterpret_cast<void*>(action.sa_handler);
  kernel.flags = static_cast<unsigned long>(static_cast<unsigned>(action.sa_flags)) | SA_RESTORER;
  kernel.restorer = fase_sigreturn;
  std::memcpy(&kernel.mask, &action.sa_mask, sizeof kernel.mask);
  return kernel;
}

struct sigaction from_kernel(const sys::KernelSigaction& kernel) {
  struct sigaction action {};
  action.sa_handler = reinterpret_cast<void (*)(int)>(kernel.handler);
  action.sa_flags = static_cast<int>(kernel.flags & ~static_cast<unsigned long>(SA_RESTORER));
  std::memcpy(&action.sa_mask, &kernel.mask, sizeof kernel.mask);
  return action;
}

sys::KernelSigaction wrapped(const sys::KernelSigaction& asked) {
  sys::KernelSigaction kernel = asked;
  if (!is_function(asked.handler)) return kernel;
  kernel.mask = ~std::uint64_t{0};
  kernel.handler = reinterpret_cast<void*>(&on_signal);
  kernel.flags |= SA_SIGINFO | SA_RESTORER;
  kernel.flags &= ~static_cast<unsigned long>(SA_RESETHAND);
  kernel.restorer = fase_sigreturn;
  return kernel;
}

bool is_ours(const void* handler) { return handler == reinterpret_cast<void*>(&on_signal) || handler == reinterpret_cast<void*>(&on_fault); }

}  // namespace

std::uint64_t without_segv(std::uint64_t set) { return set & ~kSegv; }

long guest_sigaction(int sig, const struct sigaction* action, struct sigaction* old) {
  if (sig < 1 || sig >= kSignals || sig == 32 || sig == 33) return -EINVAL;  // 32 and 33 are glibc's own
  sys::KernelSigaction asked{}, before{};
  if (action != nullptr) asked = to_kernel(*action);
  // A vfork child shares our memory but not our signal table: what it sets is between it and the kernel.
  bool shared_memory_child = sys::process() != owner_process;
  long result = 0;
  LockedWithoutSignals locked(engine->lock());
  if (sig == SIGSEGV) {
    before = guest[SIGSEGV];
    if (action != nullptr && !shared_memory_child) guest[SIGSEGV] = asked;
  } else {
    sys::KernelSigaction kernel = wrapped(asked);
    result = sys::sigaction(sig, action != nullptr ? &kernel : nullptr, &before);
    if (sys::failed(result)) return result;
    if (is_ours(before.handler)) before = guest[sig];
    if (action != nullptr && !shared_memory_child && is_function(asked.handler)) guest[sig] = asked;
  }
  if (old != nullptr) *old = from_kernel(before);
  return result;
}

long guest_sigmask(int how, const sigset_t* set, sigset_t* old) {
  std::uint64_t wanted = 0, before = 0;
  if (set != nullptr) std::memcpy(&wanted, set, sizeof wanted);
  std::uint64_t kernel_set = how == SIG_UNBLOCK ? wanted : without_segv(wanted);
  kernel_set &= ~(sys::signal_bit(32) | sys::signal_bit(33));  // as glibc does
  long result = sys::signal_mask(how, set != nullptr ? &kernel_set : nullptr, &before);
  if (sys::failed(result)) return result;
  bool was_blocked = thread_block.segv_blocked;
  if (set != nullptr) {
    bool named = (wanted & kSegv) != 0;
    if (how == SIG_SETMASK) thread_block.segv_blocked = named;
    if (how == SIG_BLOCK && named) thread_block.segv_blocked = true;
    if (how == SIG_UNBLOCK && named) thread_block.segv_blocked = false;
  }
  if (!thread_block.segv_blocked && thread_block.segv_pending) {
    thread_block.segv_pending = false;
    sys::signal_thread(sys::process(), sys::thread(), SIGSEGV);
  }
  if (old != nullptr) {
    std::uint64_t shown = before | (was_blocked ? kSegv : 0);
    std::memset(old, 0, sizeof *old);
    std::memcpy(old, &shown, sizeof shown);
  }
  return result;
}

long guest_sigpending(sigset_t* set) {
  std::uint64_t pending = 0;
  long result = sys::call(SYS_rt_sigpending, reinterpret_cast<long>(&pending), 8);
  if (thread_block.segv_pending) pending |= kSegv;
  std::memset(set, 0, sizeof *set);
  std::memcpy(set, &pending, sizeof pending);
  return result;
}

void install_signals(Engine& the_engine) {
  engine = &the_engine;
  owner_process = sys::process();
  long stack = sys::map_far(kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE);
  if (sys::failed(stack)) die(Line() << "cannot map the engine's stack");
  engine_stack_top = reinterpret_cast<std::uint8_t*>(stack) + kStackBytes;
  for (int sig = 1; sig < kSignals; ++sig) {
    sys::KernelSigaction now{};
    if (sys::failed(sys::sigaction(sig, nullptr, &now))) continue;
    guest[sig] = now;
    if (sig == SIGSEGV || sig == SIGKILL || sig == SIGSTOP || sig == 32 || sig == 33 || !is_function(now.handler)) continue;
    sys::KernelSigaction kernel = wrapped(now);
    sys::sigaction(sig, &kernel, nullptr);
  }
  sys::KernelSigaction ours{};
  ours.handler = reinterpret_cast<void*>(&on_fault);
  ours.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER | SA_NODEFER;
  ours.restorer = fase_sigreturn;
  ours.mask = ~std::uint64_t{0};
  sys::sigaction(SIGSEGV, &ours, nullptr);
  std::uint64_t segv = kSegv;
  sys::signal_mask(SIG_UNBLOCK, &segv, nullptr);
  adopt_thread(engine->record());
}

void signals_after_fork() { owner_process = sys::process(); }

}  // namespace fase::runtime
