#include "runtime/hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>

#include <cstdarg>
#include <cstring>

#include "core/decode/decode.h"
#include "runtime/engine.h"
#include "runtime/execute.h"
#include "runtime/listener.h"
#include "runtime/signals.h"
#include "runtime/symbol.h"
#include "runtime/thread.h"

namespace fase::runtime {
namespace {

Engine* engine;

/// What hooks hold: the engine's lock, and what the control file asks for is done.
struct InEngine : LockedWithoutSignals {
  InEngine() : LockedWithoutSignals(engine->lock()) { engine->follow_control(); }
};

template <typename Result>
Result with_errno(long result) {
  if (sys::failed(result)) {
    errno = static_cast<int>(-result);
    return (Result)-1;  // NOLINT: an int or MAP_FAILED
  }
  return (Result)result;  // NOLINT
}

core::Extent pages(std::uint64_t address, std::size_t size) { return {sys::page_of(address), sys::page_up(address + size)}; }

int armed(int protection) { return (protection & ~PROT_EXEC) | PROT_READ; }

// --- memory ---

void* hook_mmap(void* address, std::size_t size, int protection, int flags, int fd, long offset) {
  auto at = reinterpret_cast<std::uint64_t>(address);
  bool executable = (protection & PROT_EXEC) != 0;
  if (!executable && (flags & MAP_FIXED) == 0 && !engine->control().pending()) {
    return with_errno<void*>(sys::map(at, size, protection, flags, fd, offset));
  }
  InEngine locked;
  executable &= !engine->stopped();
  // Code shared with other mappings of the same file cannot be patched: the patches would appear in the file, and writes elsewhere would not be seen.
  bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
  if (executable && shared) engine->record().note("an executable shared mapping runs without emulation");
  bool watched = executable && !shared;
  long result = sys::map(at, size, watched ? armed(protection) : protection, flags, fd, offset);
  if (sys::failed(result)) return with_errno<void*>(result);
  core::Extent extent = pages(static_cast<std::uint64_t>(result), size);
  engine->unwatch(extent, false);
  if (watched) engine->watch(extent, protection);
  return reinterpret_cast<void*>(result);
}

int hook_munmap(void* address, std::size_t size) {
  auto at = reinterpret_cast<std::uint64_t>(address);
  InEngine locked;
  engine->unwatch(pages(at, size), false);
  return with_errno<int>(sys::unmap(at, size));
}

long protect(std::uint64_t at, std::size_t size, int protection) {
  core::Extent extent = pages(at, size);
  InEngine locked;
  bool executable = (protection & PROT_EXEC) != 0 && !engine->stopped();
  engine->unwatch(extent, true);
  long result = sys::protect(at, size, executable ? armed(protection) : protection);
  if (executable && !sys::failed(result)) engine->watch(extent, protection);
  return result;
}

int hook_mprotect(void* address, std::size_t size, int protection) {
  return with_errno<int>(protect(reinterpret_cast<std::uint64_t>(address), size, protection));
}

int hook_pkey_mprotect(void* address, std::size_t size, int protection, int key) {
  if (key == -1) return hook_mprotect(address, size, protection);
  return with_errno<int>(sys::call(SYS_pkey_mprotect, reinterpret_cast<long>(address), static_cast<long>(size), protection, key));
}

void* hook_mremap(void* address, std::size_t old_size, std::size_t new_size, int flags, ...) {
  long target = 0;
  if ((flags & MREMAP_FIXED) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    target = va_arg(arguments, long);
    va_end(arguments);
  }
  auto at = reinterpret_cast<std::uint64_t>(address);
  auto move = [&] { return sys::call(SYS_mremap, static_cast<long>(at), static_cast<long>(old_size), static_cast<long>(new_size), flags, target); };
  InEngine locked;
  core::Extent old = pages(at, old_size);
  int protection = engine->protection_of(old);
  if (protection != 0) {
    engine->unwatch(old, true);
    sys::protect(old.begin, old.size(), armed(protection));
  }
  long result = move();
  core::Extent now = sys::failed(result) ? old : pages(static_cast<std::uint64_t>(result), new_size);
  if (!sys::failed(result)) engine->unwatch(now, false);
  if (protection != 0) engine->watch(now, protection);
  return with_errno<void*>(result);
}

// --- signals ---

int hook_sigaction(int sig, const struct sigaction* action, struct sigaction* old) { return with_errno<int>(guest_sigaction(sig, action, old)); }

int hook_pthread_sigmask(int how, const sigset_t* set, sigset_t* old) { return static_cast<int>(-guest_sigmask(how, set, old)); }

int hook_sigprocmask(int how, const sigset_t* set, sigset_t* old) { return with_errno<int>(guest_sigmask(how, set, old)); }

int hook_sigaltstack(const stack_t* stack, stack_t* old) { return with_errno<int>(guest_sigaltstack(stack, old)); }

int hook_sigpending(sigset_t* set) { return with_errno<int>(guest_sigpending(set)); }

// --- programs ---

int hook_execve(const char* path, char* const* arguments, char* const* environment) {
  return with_errno<int>(execute(*engine, path, arguments, environment));
}

// --- threads ---

using PthreadCreate = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
PthreadCreate original_pthread_create;

struct ThreadStart {
  void* (*function)(void*);
  void* argument;
  std::uint32_t number;  // given by the creating thread, so that it does not depend on which of two threads runs first
};

void* start_thread(void* raw) {
  ThreadStart start = *static_cast<ThreadStart*>(raw);
  {
    InEngine locked;
    delete static_cast<ThreadStart*>(raw);
    adopt_thread(engine->record(), start.number);
  }
  return start.function(start.argument);
}

int hook_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*), void* argument) {
  ThreadStart* start;
  {
    InEngine locked;
    start = new ThreadStart{function, argument, next_thread_number()};
  }
  int result = original_pthread_create(thread, attributes, start_thread, start);
  if (result != 0) {
    InEngine locked;
    delete start;
  }
  return result;
}

// --- fork ---

// Handlers of pthread_atfork may be emulated code (OpenBLAS has some), and those that were registered before a late agent's would run while the lock is
// held. So it is the function below them that is hooked; before glibc 2.34 there is none.

using Fork = pid_t (*)();
Fork original_fork;
std::uint64_t mask_before_fork;

void before_fork() {
  std::uint64_t all = ~std::uint64_t{0}, before = 0;
  sys::signal_mask(SIG_SETMASK, &all, &before);
  engine->lock().acquire();
  mask_before_fork = before;
}
void after_fork_in_parent() {
  std::uint64_t before = mask_before_fork;
  engine->lock().release();
  sys::signal_mask(SIG_SETMASK, &before, nullptr);
}
void after_fork_in_child() {
  engine->lock().reset_after_fork();
  signals_after_fork();
  engine->after_fork_in_child();
  listener_after_fork(*engine);
  std::uint64_t before = mask_before_fork;
  sys::signal_mask(SIG_SETMASK, &before, nullptr);
}

/// After all other handlers: in a libc whose fork() does not call _Fork() the child would count in its parent's record.
void check_child() {
  if (engine->record().header().pid != static_cast<std::uint32_t>(sys::process()))
    die(Line() << "this C library forks in a way that FASE does not know");
}

pid_t hook_fork() {
  before_fork();
  const pid_t pid = original_fork();
  if (pid == 0) after_fork_in_child();
  else after_fork_in_parent();
  return pid;
}

// --- the dynamic linker ---

/// Called by the dynamic linker after it has mapped or unmapped libraries, before any constructor of them runs.
void on_dynamic_linker() { refresh_modules(*engine); }

// --- patching functions ---

/// The first instructions of `function` moved elsewhere, followed by a jump to the rest: what is called when the start has been overwritten.
/// Null when one of them cannot be moved.
void* keep_original(void* function) {
  auto at = reinterpret_cast<core::Address>(function);
  Arena& arena = engine->arenas().near({at, at + 64}, 4096);
  std::uint8_t* out = arena.code_space().data();
  std::size_t moved = 0;
  while (moved < 5) {  // the jump that redirect() writes
    core::Insn insn;
    const auto* p = static_cast<const std::uint8_t*>(function) + moved;
    if (!core::decode(p, core::kMaxInstruction, at + moved, insn) || insn.flow != core::Flow::plain) return nullptr;
    std::memcpy(out + moved, p, insn.length);
    if (insn.rip_relative()) {
      auto displacement = static_cast<std::int32_t>(insn.memory.disp - static_cast<std::int64_t>(arena.code_cursor() + moved + insn.length));
      std::memcpy(out + moved + insn.disp_offset, &displacement, 4);
    }
    moved += insn.length;
  }
  auto back = static_cast<std::int32_t>(static_cast<std::int64_t>(at + moved) - static_cast<std::int64_t>(arena.code_cursor() + moved + 5));
  out[moved] = 0xe9;
  std::memcpy(out + moved + 1, &back, 4);
  arena.commit_code(moved + 5);
  return out;
}

/// Overwrites the start of `function` by a jump to `replacement`; the original is never called again.
void redirect(void* function, const void* replacement) {
  auto at = reinterpret_cast<core::Address>(function);
  Arena& arena = engine->arenas().near({at, at + 16}, 0);
  core::Address slot = arena.take_slot();
  *reinterpret_cast<core::Address*>(slot) = reinterpret_cast<core::Address>(replacement);
  core::Address thunk = Arena::thunk_of(slot);
  Arena::make_thunk(slot);
  auto displacement = static_cast<std::int32_t>(static_cast<std::int64_t>(thunk - (at + 5)));
  core::Address page = sys::page_of(at);
  std::size_t size = sys::page_up(at + 8) - page;
  sys::protect(page, size, PROT_READ | PROT_WRITE | PROT_EXEC);
  std::uint64_t word;  // one store: functions are 16-byte aligned, so another thread sees all of the jump or nothing
  std::memcpy(&word, function, sizeof word);
  word = (word & ~((std::uint64_t{1} << 40) - 1)) | 0xe9 | static_cast<std::uint64_t>(static_cast<std::uint32_t>(displacement)) << 8;
  *static_cast<volatile std::uint64_t*>(function) = word;
  sys::protect(page, size, PROT_READ | PROT_EXEC);
}

const link_map* find_libc(const r_debug& debug) {
  for (link_map* map = debug.r_map; map != nullptr; map = map->l_next) {
    std::string_view path = map->l_name;
    if (path == "libc.so.6" || path.ends_with("/libc.so.6")) return map;
  }
  return nullptr;
}

struct Hook {
  const char* name;
  const void* replacement;
};

#define FASE_HOOK(name, function) \
  Hook { name, reinterpret_cast<const void*>(&function) }
const Hook kHooks[] = {
    FASE_HOOK("mmap", hook_mmap),
    FASE_HOOK("munmap", hook_munmap),
    FASE_HOOK("mprotect", hook_mprotect),
    FASE_HOOK("pkey_mprotect", hook_pkey_mprotect),
    FASE_HOOK("mremap", hook_mremap),
    FASE_HOOK("sigaction", hook_sigaction),
    FASE_HOOK("sigprocmask", hook_sigprocmask),
    FASE_HOOK("pthread_sigmask", hook_pthread_sigmask),
    FASE_HOOK("sigpending", hook_sigpending),
    FASE_HOOK("sigaltstack", hook_sigaltstack),
    FASE_HOOK("execve", hook_execve),
};
#undef FASE_HOOK

}  // namespace

namespace {

/// The dynamic linker's list, outside the engine's lock and heap.
class LoadedModules {
 public:
  LoadedModules() {
    long memory = sys::map_far(kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (sys::failed(memory)) die(Line() << "out of memory while listing libraries");
    modules_ = reinterpret_cast<LoadedModule*>(memory);
    count_ = list_loaded_modules({modules_, kMost});
    if (count_ > kMost) die(Line() << "more than " << kMost << " libraries loaded");
  }
  ~LoadedModules() { sys::unmap(reinterpret_cast<std::uint64_t>(modules_), kBytes); }
  LoadedModules(const LoadedModules&) = delete;
  LoadedModules& operator=(const LoadedModules&) = delete;
  std::span<const LoadedModule> list() const { return {modules_, count_}; }

 private:
  static constexpr std::size_t kMost = 16384;
  static constexpr std::size_t kBytes = kMost * sizeof(LoadedModule);
  LoadedModule* modules_;
  std::size_t count_;
};

/// Calls of a libc function reach `hook`, which finds the function itself in `original`. False: libc has none, or its start cannot be moved.
template <typename Function>
bool wrap(const link_map& libc, const char* name, Function& original, Function hook) {
  void* function = find_symbol(libc, name);
  if (function == nullptr) return false;
  original = reinterpret_cast<Function>(keep_original(function));
  if (original == nullptr) return false;
  redirect(function, reinterpret_cast<const void*>(hook));
  return true;
}

}  // namespace

void refresh_modules(Engine& the_engine) {
  LoadedModules loaded;
  LockedWithoutSignals locked(the_engine.lock());
  the_engine.refresh_modules(loaded.list());
}

void resume_engine(Engine& the_engine) {
  LoadedModules loaded;
  LockedWithoutSignals locked(the_engine.lock());
  the_engine.resume(loaded.list());
}

void install_hooks(Engine& the_engine) {
  engine = &the_engine;
  auto* debug = static_cast<r_debug*>(dlsym(RTLD_DEFAULT, "_r_debug"));
  if (debug == nullptr || debug->r_brk == 0) die(Line() << "the dynamic linker offers no debugger interface", kAgentRefused);
  const link_map* libc = find_libc(*debug);
  if (libc == nullptr) die(Line() << "this program's C library is not glibc", kAgentRefused);
  for (const Hook& hook : kHooks) {
    if (void* function = find_symbol(*libc, hook.name)) redirect(function, hook.replacement);
  }
  wrap(*libc, "pthread_create", original_pthread_create, &hook_pthread_create);
  if (wrap(*libc, "_Fork", original_fork, &hook_fork)) pthread_atfork(nullptr, nullptr, check_child);
  else pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  redirect(reinterpret_cast<void*>(debug->r_brk), reinterpret_cast<const void*>(&on_dynamic_linker));
}

}  // namespace fase::runtime
