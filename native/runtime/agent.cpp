// Start and stop: the C functions of native/abi/agent.h, and the constructor that starts the agent when it was preloaded.
#include "abi/agent.h"

#include <dlfcn.h>

#include <cstring>

#include "runtime/cpu.h"
#include "runtime/engine.h"
#include "runtime/execute.h"
#include "runtime/hooks.h"
#include "runtime/signals.h"

#define FASE_EXPORT __attribute__((visibility("default")))
#ifdef FASE_LATE
#define FASE_CONSTRUCTOR
#else
#define FASE_CONSTRUCTOR __attribute__((constructor))
#endif

namespace fase::runtime {
namespace {

constexpr int kVersion = 1;

alignas(Record) char record_memory[sizeof(Record)];
Record* record;
Engine* engine;  // never destroyed: threads may run emitted code until the very end
Control control;

std::string choose_machine(const Options& options, core::Machine& machine) {
  Cpu cpu = detect_cpu();
  if (!cpu.avx2_fma) return "this CPU has no AVX2 and FMA: there is nothing to emulate";
  if (options.isa == Options::Isa::avx512 && !cpu.avx512) return "isa=avx512, but this CPU has no AVX-512 (F, BW, DQ, VL)";
  machine.avx512 = cpu.avx512;
  machine.emit_avx512 = cpu.avx512 && options.isa != Options::Isa::avx2;
  machine.wide_units = options.wide_units < 0 ? cpu.wide_units : options.wide_units != 0;
  machine.dear_fixups = !machine.wide_units;  // so on Zen 4; elsewhere nobody has measured
  return {};
}

/// argv as the kernel keeps it, NUL-separated.
std::size_t read_command(char* out, std::size_t size) {
  int fd = static_cast<int>(sys::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC));
  if (fd < 0) return 0;
  long n = sys::read(fd, out, size);
  sys::close(fd);
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

/// Started before, in this process: the record and the tables stay, and so do the options other than mode and policy.
std::string start_again(const Options& options) {
  if (!engine->stopped()) return "emulation is already running in this process";
  if (std::string problem = record->room_problem(mode_names(options.policy, options.mode)); !problem.empty()) return problem;
  if (std::string problem = dot_problem(options.policy, options.op); !problem.empty()) return problem;
  {
    LockedWithoutSignals locked(engine->lock());
    engine->set_policy(options.policy, options.mode, options.op);
  }
  resume_engine(*engine);
  return {};
}

/// Another copy of the agent (preloaded, then loaded once more by path) owns this process.
bool another_agent() {
  void* first = dlsym(RTLD_DEFAULT, "fase_agent_version");
  return first != nullptr && first != reinterpret_cast<void*>(&fase_agent_version);
}

/// Under the engine's lock, which guards the heap too. `again`: what was found so far has to be looked at again, by resume_engine().
std::string set_policy(const char* text, bool& again) {
  Options options;
  if (std::string problem = parse_options(text, options); !problem.empty()) return problem;
  if (std::string problem = dot_problem(options.policy, options.op); !problem.empty()) return problem;
  if (std::string problem = record->room_problem(mode_names(options.policy, options.mode)); !problem.empty()) return problem;
  again = engine->must_look_again(options.op);
  for (const OperatorRule& rule : options.policy.operator_rules) again |= engine->must_look_again(rule.op);
  if (again) engine->stop();
  engine->set_policy(options.policy, options.mode, options.op);
  return {};
}

std::string start(const char* text) {
  if (another_agent()) return "another FASE agent runs in this process";
  Options options;
  core::Machine machine;
  if (std::string problem = parse_options(text, options); !problem.empty()) return problem;
  if (engine != nullptr) return start_again(options);
  if (std::string problem = choose_machine(options, machine); !problem.empty()) return problem;
  if (std::string problem = dot_problem(options.policy, options.op); !problem.empty()) return problem;
  auto* fresh = new (record_memory) Record;
  if (std::string problem = fresh->room_problem(mode_names(options.policy, options.mode)); !problem.empty()) return problem;
  char command[4096];
  std::size_t command_size = read_command(command, sizeof command);
  if (std::string problem = fresh->create(options.directory, command, command_size); !problem.empty()) return problem;
  if (std::string problem = control.open(options.directory); !problem.empty()) return problem;
  record = fresh;
  engine = new Engine(std::move(options), *record, control, machine);
  install_signals(*engine);
  install_hooks(*engine);
  refresh_modules(*engine);
  LockedWithoutSignals locked(engine->lock());
  engine->adopt_mappings();
  engine->follow_control();
  return {};
}

int report(const std::string& problem, char* error, std::size_t size) {
  if (problem.empty()) return 0;
  if (error != nullptr && size > 0) {
    std::size_t n = std::min(problem.size(), size - 1);
    std::memcpy(error, problem.data(), n);
    error[n] = 0;
  }
  return -1;
}

/// Runs before every other constructor of the process (-z initfirst), and before libc has set `environ`: the kernel's vector is passed in. The copy
/// for running processes starts only when it is asked to, also in a child that has our environment.
[[maybe_unused]] FASE_CONSTRUCTOR void preloaded(int, char**, char** environment) {
  constexpr std::string_view kName = "FASE_AGENT=";
  if (environment == nullptr) return;
  for (char** entry = environment; *entry != nullptr; ++entry) {
    if (std::string_view(*entry).substr(0, kName.size()) != kName) continue;
    const char* options = *entry + kName.size();
    Dl_info self{};
    dladdr(reinterpret_cast<const void*>(&fase_agent_version), &self);
    remember_environment(self.dli_fname != nullptr ? self.dli_fname : "", options);
    std::string problem = start(options);
    if (!problem.empty()) die(Line() << problem, kAgentRefused);
    return;
  }
}

}  // namespace
}  // namespace fase::runtime

using namespace fase::runtime;

extern "C" {
FASE_EXPORT int fase_agent_version() { return kVersion; }

FASE_EXPORT int fase_agent_start(const char* options, char* error, std::size_t error_size) { return report(start(options), error, error_size); }

FASE_EXPORT int fase_agent_stop(char* error, std::size_t error_size) {
  if (engine == nullptr) return report("emulation has not been started in this process", error, error_size);
  LockedWithoutSignals locked(engine->lock());
  engine->stop();
  return 0;
}

FASE_EXPORT int fase_agent_set_mode(const char* mode, const char* operator_spec, char* error, std::size_t error_size) {
  if (engine == nullptr) return report("emulation has not been started in this process", error, error_size);
  fase::core::Operator op;
  bool again = false;
  {
    LockedWithoutSignals locked(engine->lock());
    if (std::string problem = parse_operator(operator_spec, engine->directory(), op); !problem.empty()) return report(problem, error, error_size);
    if (std::string problem = dot_problem(engine->policy(), op); !problem.empty()) return report(problem, error, error_size);
    if (std::string problem = record->room_problem(mode_names(engine->policy(), mode)); !problem.empty()) return report(problem, error, error_size);
    again = engine->must_look_again(op);
    if (again) engine->stop();
    engine->set_mode(mode, op);
  }
  if (again) resume_engine(*engine);
  return 0;
}

FASE_EXPORT int fase_agent_set_policy(const char* options, char* error, std::size_t error_size) {
  if (engine == nullptr) return report("emulation has not been started in this process", error, error_size);
  bool again = false;
  {
    LockedWithoutSignals locked(engine->lock());
    if (std::string problem = set_policy(options, again); !problem.empty()) return report(problem, error, error_size);
  }
  if (again) resume_engine(*engine);
  return 0;
}

FASE_EXPORT const char* fase_agent_mode() {
  if (record == nullptr) return "";
  const fase::abi::RecordHeader& header = record->header();
  return header.mode[std::atomic_ref<const std::uint64_t>(header.mode_now).load(std::memory_order_relaxed)].name;
}

FASE_EXPORT const char* fase_agent_record() { return record != nullptr ? record->path().c_str() : ""; }
}
