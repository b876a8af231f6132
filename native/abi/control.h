// The control file of a run: the mode that `fase mode`, or who writes to the channel of `fase run --control`, last asked for. `fase run` makes it beside
// the record files before the program starts; every process of the run maps it, and takes over what it says. `src/fase/control/file.py` writes it.
#pragma once
#include <cstdint>

#include "abi/record.h"

namespace fase::abi {

inline constexpr char kControlName[] = "control";
inline constexpr char kControlMagic[8] = {'F', 'A', 'S', 'E', 'C', 'T', 'L', '1'};
inline constexpr std::uint32_t kOperatorText = 2048;  // bytes, NUL-terminated

struct ControlFile {
  char magic[8];
  // Number of the request: 0 none yet, odd while one is being written. A futex: those who wait for a request wait here.
  std::uint32_t sequence;
  std::uint32_t options;              // kKeepThread, and what only Python looks at
  char mode[kModeName];               // before the first request: the run's own, for those who show it
  char operator_text[kOperatorText];  // docs/operators.md
};

/// A process that has run emulated code keeps a thread that waits for requests. Otherwise a process notices when it enters the engine next.
inline constexpr std::uint32_t kKeepThread = 1;

}  // namespace fase::abi
