// The thread that waits for requests of the control file, in runs that keep one (native/abi/control.h).
#pragma once

namespace fase::runtime {

class Engine;

/// Starts the thread unless this process has it. All signals are blocked, and the engine's lock is not held.
///
/// It is a thread of the kernel's only: libc does not know of it, it has no thread-local storage of its own to speak of, takes no signals, and ends
/// with the process (exit, execve). A child of a fork has none: it starts its own.
void start_listener(Engine& engine);

/// In the child of a fork: starts one if the parent had one.
void listener_after_fork(Engine& engine);

}  // namespace fase::runtime
