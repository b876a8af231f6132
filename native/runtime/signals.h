// Signals: our SIGSEGV handler under everything, and the program's own handlers as it believes them to be installed.
#pragma once
#include <signal.h>

#include <cstdint>

namespace fase::runtime {

class Engine;

/// Takes over SIGSEGV and wraps handlers that are already installed. Once a process.
void install_signals(Engine& engine);

/// The hooks' implementations, with the kernel's conventions: 0 or -errno.
long guest_sigaction(int sig, const struct sigaction* action, struct sigaction* old);
long guest_sigmask(int how, const sigset_t* set, sigset_t* old);
long guest_sigpending(sigset_t* set);

/// In the child of a fork.
void signals_after_fork();

/// `set` without SIGSEGV: blocking it would turn our next fault into the program's end.
std::uint64_t without_segv(std::uint64_t set);

}  // namespace fase::runtime
