// The interrupted thread as the kernel saved it: reading and correcting registers in a signal frame.
#pragma once
#include <ucontext.h>

#include "core/region/translate.h"

namespace fase::runtime {

core::Address instruction_pointer(const ucontext_t* context);
void set_instruction_pointer(ucontext_t* context, core::Address rip);
core::Address stack_pointer(const ucontext_t* context);
/// General-purpose register by encoding order (rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8...).
void set_gpr(ucontext_t* context, unsigned index, std::uint64_t value);
std::uint32_t mxcsr(const ucontext_t* context);
void set_mxcsr(ucontext_t* context, std::uint32_t value);
/// Four bytes of the calling thread's scratch.
std::uint32_t scratch_dword(std::int32_t fs_offset);
void set_scratch_dword(std::int32_t fs_offset, std::uint32_t value);
bool is_fetch(const ucontext_t* context);
bool is_write(const ucontext_t* context);

/// Where a piece of the calling thread's scratch lies.
std::uint8_t* in_scratch(std::int32_t fs_offset);

/// Exchanges a register in the frame with the value at `other`.
void exchange(ucontext_t* context, const core::Spilled& spilled, std::uint8_t* other);

/// Makes the program's of sums of which a part is in the thread's scratch, and of registers of a widened loop.
void show_sums(ucontext_t* context, const core::GuestState& state);

/// Puts the guest's values of borrowed registers, which are in the thread's scratch, into the frame, and its instruction pointer.
void show_guest(ucontext_t* context, const core::GuestState& state);

}  // namespace fase::runtime
