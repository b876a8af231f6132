// Threads that block SIGSEGV, since before the agent came: the kernel ends the process when one of them faults, for no handler may run. (ZeroMQ's in a
// Jupyter kernel do.) Such a mask cannot be changed from outside.
#pragma once

namespace fase::runtime {

/// True when a thread other than the caller blocks SIGSEGV.
bool others_block_faults();

}  // namespace fase::runtime
