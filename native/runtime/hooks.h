// Hooks on libc's own entry points and on the dynamic linker's debugger call. The functions themselves are patched, not the callers: this works the
// same for a library loaded into a running program and also sees libc calling itself.
#pragma once

namespace fase::runtime {

class Engine;

/// Patches libc and the dynamic linker; `agent_environment` is handed to programs that are executed with another environment. Once a process.
void install_hooks(Engine& engine);

/// Tells the engine what is loaded now.
void refresh_modules(Engine& engine);

/// Watches the program again after a stop.
void resume_engine(Engine& engine);

}  // namespace fase::runtime
