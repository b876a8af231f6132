#include "runtime/context.h"

#include <cstring>

#include "runtime/cpu.h"
#include "runtime/message.h"
#include "runtime/thread.h"

namespace fase::runtime {
namespace {

constexpr int kGprIndex[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

constexpr std::size_t kMxcsrAt = 24;  // in the FXSAVE area
constexpr std::size_t kXmmAt = 160;
constexpr std::size_t kSoftwareAt = 464;  // struct _fpx_sw_bytes: magic, size, features
constexpr std::size_t kXstateBvAt = 512;
constexpr std::uint32_t kXstateMagic = 0x46505853;

struct Frame {
  std::uint8_t* area;
  bool extended;  // an XSAVE header and components follow

  explicit Frame(ucontext_t* context) : area(reinterpret_cast<std::uint8_t*>(context->uc_mcontext.fpregs)) {
    std::uint32_t magic = 0;
    std::memcpy(&magic, area + kSoftwareAt, sizeof magic);
    extended = magic == kXstateMagic;
  }

  /// A component that was in its initial state has no valid bytes in the frame: make them zeros before one register is set.
  void use(unsigned component, std::uint32_t offset, std::size_t size) {
    std::uint64_t present = 0;
    std::memcpy(&present, area + kXstateBvAt, sizeof present);
    if ((present >> component & 1) == 0) {
      if (component >= 2) std::memset(area + offset, 0, size);
      present |= std::uint64_t{1} << component;
      std::memcpy(area + kXstateBvAt, &present, sizeof present);
    }
  }

  /// Components in their initial state read as zeros.
  void get_vector(unsigned index, std::uint8_t* value) const {
    const XsaveLayout& at = xsave_layout();
    std::memset(value, 0, 64);
    std::uint64_t present = 0;
    if (extended) std::memcpy(&present, area + kXstateBvAt, sizeof present);
    const auto part = [&](unsigned component, std::uint32_t offset, unsigned to, std::size_t size) {
      if ((present >> component & 1) != 0 && offset != 0) std::memcpy(value + to, area + offset, size);
    };
    if (index >= 16) return part(7, at.zmm_upper + (index - 16) * 64, 0, 64);
    std::memcpy(value, area + kXmmAt + index * 16, 16);
    part(2, at.ymm_high + index * 16, 16, 16);
    part(6, at.zmm_high + index * 32, 32, 32);
  }

  std::uint64_t opmask(unsigned index) const {
    const std::uint32_t at = xsave_layout().opmask;
    std::uint64_t present = 0, value = 0;
    if (extended) std::memcpy(&present, area + kXstateBvAt, sizeof present);
    if ((present >> 5 & 1) != 0 && at != 0) std::memcpy(&value, area + at + index * 8, sizeof value);
    return value;
  }

  void set_opmask(unsigned index, const std::uint8_t* value) {
    const std::uint32_t at = xsave_layout().opmask;
    if (!extended || at == 0) return;
    use(5, at, 8 * 8);
    std::memcpy(area + at + index * 8, value, 8);
  }

  void set_vector(unsigned index, const std::uint8_t* value) {
    const XsaveLayout& at = xsave_layout();
    if (index >= 16) {
      if (!extended || at.zmm_upper == 0) return;
      use(7, at.zmm_upper, 16 * 64);
      std::memcpy(area + at.zmm_upper + (index - 16) * 64, value, 64);
      return;
    }
    if (extended) use(1, 0, 0);
    std::memcpy(area + kXmmAt + index * 16, value, 16);
    if (!extended || at.ymm_high == 0) return;
    use(2, at.ymm_high, 16 * 16);
    std::memcpy(area + at.ymm_high + index * 16, value + 16, 16);
    if (at.zmm_high == 0) return;
    use(6, at.zmm_high, 16 * 32);
    std::memcpy(area + at.zmm_high + index * 32, value + 32, 32);
  }
};

/// Registers of a widened loop: their upper halves are other registers' values, or nothing.
void show_halves(Frame& frame, const core::GuestState& state) {
  std::uint8_t value[64];
  for (unsigned r = 0; r < 32; ++r) {
    if (((state.upper | state.narrow) >> r & 1) == 0) continue;
    frame.get_vector(r, value);
    std::uint8_t half[64] = {};
    if ((state.upper >> r & 1) != 0) {
      std::memcpy(half, value + 32, 32);
      frame.set_vector(state.layout.high[r], half);
    }
    std::memset(value + 32, 0, 32);
    if ((state.narrow >> r & 1) != 0) frame.set_vector(r, value);
  }
}

/// The handler runs under an MXCSR of its own: to nearest.
void add_total(Frame& frame, const core::Total& total) {
  alignas(64) float value[16];
  frame.get_vector(total.index, reinterpret_cast<std::uint8_t*>(value));
  core::add_total(value, in_scratch(total.fs_offset), total.lanes);
  frame.set_vector(total.index, reinterpret_cast<const std::uint8_t*>(value));
}

std::uint64_t word(const std::uint8_t* p) {
  std::uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace

std::uint8_t* in_scratch(std::int32_t fs_offset) {
  std::uint64_t fs;
  asm("mov %%fs:0, %0" : "=r"(fs));
  return reinterpret_cast<std::uint8_t*>(fs + static_cast<std::int64_t>(fs_offset));
}

core::Address instruction_pointer(const ucontext_t* context) { return static_cast<core::Address>(context->uc_mcontext.gregs[REG_RIP]); }
void set_instruction_pointer(ucontext_t* context, core::Address rip) { context->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(rip); }
core::Address stack_pointer(const ucontext_t* context) { return static_cast<core::Address>(context->uc_mcontext.gregs[REG_RSP]); }
void set_gpr(ucontext_t* context, unsigned index, std::uint64_t value) { context->uc_mcontext.gregs[kGprIndex[index]] = static_cast<greg_t>(value); }

std::uint32_t mxcsr(const ucontext_t* context) {
  std::uint32_t value;
  std::memcpy(&value, reinterpret_cast<const std::uint8_t*>(context->uc_mcontext.fpregs) + kMxcsrAt, sizeof value);
  return value;
}

void set_mxcsr(ucontext_t* context, std::uint32_t value) {
  std::memcpy(reinterpret_cast<std::uint8_t*>(context->uc_mcontext.fpregs) + kMxcsrAt, &value, sizeof value);
}

std::uint32_t scratch_dword(std::int32_t fs_offset) {
  std::uint32_t value;
  std::memcpy(&value, in_scratch(fs_offset), sizeof value);
  return value;
}

void set_scratch_dword(std::int32_t fs_offset, std::uint32_t value) { std::memcpy(in_scratch(fs_offset), &value, sizeof value); }

// Page-fault error code, Intel SDM volume 3, 4.7.
bool is_fetch(const ucontext_t* context) { return (context->uc_mcontext.gregs[REG_ERR] & 0x10) != 0; }
bool is_write(const ucontext_t* context) { return (context->uc_mcontext.gregs[REG_ERR] & 0x02) != 0; }

void exchange(ucontext_t* context, const core::Spilled& spilled, std::uint8_t* other) {
  Frame frame(context);
  std::uint8_t before[64];
  std::size_t size = sizeof(std::uint64_t);
  switch (spilled.file) {
    case core::RegisterFile::vector:
      size = xsave_layout().zmm_high != 0 ? 64 : 32;
      frame.get_vector(spilled.index, before);
      frame.set_vector(spilled.index, other);
      break;
    case core::RegisterFile::gpr: {
      greg_t& gpr = context->uc_mcontext.gregs[kGprIndex[spilled.index]];
      std::memcpy(before, &gpr, size);
      gpr = static_cast<greg_t>(word(other));
      break;
    }
    case core::RegisterFile::opmask: {
      const std::uint64_t mask = frame.opmask(spilled.index);
      std::memcpy(before, &mask, size);
      frame.set_opmask(spilled.index, other);
      break;
    }
  }
  std::memcpy(other, before, size);
}

void show_sums(ucontext_t* context, const core::GuestState& state) {
  Frame frame(context);
  for (const core::Total& total : state.totals) add_total(frame, total);
  show_halves(frame, state);
}

void show_guest(ucontext_t* context, const core::GuestState& state) {
  Frame frame(context);
  for (const core::Spilled& spilled : state.spilled) {
    const std::uint8_t* value = in_scratch(spilled.fs_offset);
    switch (spilled.file) {
      case core::RegisterFile::vector: frame.set_vector(spilled.index, value); break;
      case core::RegisterFile::gpr: set_gpr(context, spilled.index, word(value)); break;
      case core::RegisterFile::opmask: frame.set_opmask(spilled.index, value); break;
    }
  }
  show_sums(context, state);
  if (state.mxcsr_home != 0) set_mxcsr(context, scratch_dword(state.mxcsr_home));
  set_instruction_pointer(context, state.rip);
}

}  // namespace fase::runtime
