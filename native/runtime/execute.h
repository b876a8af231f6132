// Following programs that this process executes.
#pragma once

namespace fase::runtime {

class Engine;

/// Remembers what a child needs to be followed: our LD_PRELOAD entry and FASE_AGENT. Without it children are not followed.
void remember_environment(const char* library, const char* options);

/// execve that keeps the agent in the environment, even a scrubbed one, where it was remembered. 0 never; -errno.
/// Safe in a vfork child: allocates nothing from the heap, takes no lock.
long execute(Engine& engine, const char* path, char* const* arguments, char* const* environment);

}  // namespace fase::runtime
