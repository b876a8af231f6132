// The agent's C functions (ctypes) and its start-up options.
//
// Started by LD_PRELOAD, the agent reads the environment variable FASE_AGENT: lines `key=value`, separated by newlines. Without the variable the library
// lies dormant until fase_agent_start is called. Keys:
//   version=1                          the agent refuses others (exit 3, one line on stderr)
//   mode=NAME                          what the user asked for, as recorded
//   operator=...                       a,b,c,d and options, as docs/operators.md gives the grammar; e8m23 is FP32. Behind a semicolon: the formats of
//                                      double-precision FMAs, which otherwise run as they are
//   rounding=rne                       kept for older callers; roundings are part of the formats
//   scope=math|all
//   isa=auto|avx2|avx512
//   exclude=GLOB / include=GLOB        repeatable, in order: function name (plain, mangled) or library base name; FUNCTION@LIBRARY is a glob over each;
//                                      code in no file (JIT) has neither name, so "@" means it alone
//   rule=GLOB|MODE|a,b,c,d             repeatable, first match wins: functions (or libraries) that run under an operator of their own, whatever the mode
//   rule=GLOB||                        the same, for those that follow the mode after all
//   bf16=run | bf16=MODE|a,b,c,d       VDPBF16PS runs under the run's mode (or its function's rule), or under an operator of its own; else as it is
//   directory=PATH                     where record files go: PATH/<pid>-<start>.faserec; a control file there (native/abi/control.h) has the last word on the mode
//   limit.instructions= limit.fmas= limit.scratch_registers= limit.loops=0|1 limit.side_exits=0|1    for tests
//   limit.chunk_pages=                 pages examined a first touch
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {
/// Version of this interface.
int fase_agent_version();
/// Starts emulation in this process; `options` as in FASE_AGENT. 0, or -1 with a message in `error`.
int fase_agent_start(const char* options, char* error, std::size_t error_size);
/// Gives the process its own code back; counters stay.
int fase_agent_stop(char* error, std::size_t error_size);
/// Switches the mode of all threads: `mode` as recorded, `operator_spec` as in `operator=`. 0 or -1.
int fase_agent_set_mode(const char* mode, const char* operator_spec, char* error, std::size_t error_size);
/// Switches mode and policy of all threads: `options` as in FASE_AGENT; isa, directory and limits stay what they were. 0 or -1.
int fase_agent_set_policy(const char* options, char* error, std::size_t error_size);
/// Name of the current mode; empty when dormant.
const char* fase_agent_mode();
/// Path of this process's record file; empty when dormant.
const char* fase_agent_record();
}
