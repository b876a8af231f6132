// Core's main door: one region of guest code in, machine code out.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/numerics/operator.h"
#include "core/types.h"

namespace fase::core {

/// What the emitted code may use.
struct Machine {
  bool avx512 = false;       // F, BW, DQ, VL usable (CPUID and XCR0): vector spills are 512 bits wide
  bool emit_avx512 = false;  // the AVX-512 emitter is chosen; else AVX2. EVEX guest code always gets the AVX-512 emitter
  bool wide_units = false;   // a 512-bit instruction takes no longer than a 256-bit one: loops are worth widening
  bool dear_fixups = false;  // VFIXUPIMMPS costs more than VFPCLASSPS and a branch that is never taken
};

/// Thread-local scratch, as displacements from fs. Nothing in it lives longer than one pass through a region.
struct Scratch {
  std::int32_t vectors = 0;  // 64-byte aligned slots of 64 bytes
  std::uint32_t vector_slots = 0;
  std::int32_t words = 0;  // slots of 8 bytes: GPRs and opmasks
  std::uint32_t word_slots = 0;
  std::int32_t counters = 0;  // holds a pointer to this thread's array of uint64 segment counters; null until first use
  std::int32_t totals =
      0;  // chunked accumulation: 64-byte aligned, a slot of 64 bytes for each vector register, then 32 words of 8; 0: there is none
  std::int32_t random = 0;  // holds a pointer to this thread's RandomStreams; valid once `counters` is
};

/// Optimisations of a region. Each only makes it faster; tests switch them off one by one.
enum Pass : std::uint32_t {
  kKnownGrid = 1 << 0,      // what is on the grid already is not rounded again
  kReuseCopies = 1 << 1,    // rounded copies of sources and memory operands are kept while they hold
  kRoundInPlace = 1 << 2,   // sources nobody needs unrounded are rounded where they are
  kDeadRegisters = 1 << 3,  // borrow registers, and change flags, whose value nobody reads
  kConstantRegisters = 1 << 4,
  kGroupBroadcasts = 1 << 5,  // neighbouring {1to16} operands are rounded as one vector
  kLoopState = 1 << 6,        // what holds around a loop is established once, before it
  kWiden = 1 << 7,            // loops of 256-bit FMAs become 512 bits wide
  kNanPaths = 1 << 8,         // loops test factors for NaNs and round those out of line
  kBounded = 1 << 9,          // loops of sums take fewer instructions while factors are neither tiny nor huge
  kExitFlags = 1 << 10,       // flags that pass through a loop are dead in it where the code behind its exits shows that nobody reads them
  kAllPasses = 0xffffffff,
};

/// Bounds on a region. Results never depend on them; tests vary them.
struct Limits {
  std::uint32_t instructions = 1024;
  std::uint32_t fmas = 512;
  std::uint32_t scratch_registers = 32;  // at most this many vector registers are borrowed
  bool loops = true;                     // follow backward branches that close a loop
  bool side_exits = true;                // continue past forward conditional branches
  std::uint32_t passes = kAllPasses;     // which optimisations run: bits of Pass
};

struct Request {
  const CodeView* code = nullptr;
  const SitePolicy* policy = nullptr;
  Address entry = 0;  // address of an FMA or BF16 instruction
  Extent bounds;      // the region does not read outside (module segment or JIT mapping)
  const Operator* op = nullptr;
  const Operator* dot = nullptr;  // of VDPBF16PS; null where those run as they are
  std::uint32_t stream = 0;       // stochastic rounding: the stream of the operator's seed, in bytes from what Scratch::random points to
  Machine machine;
  Scratch scratch;
  Limits limits;
  Address at = 0;  // where the code will run; `out` is a writable view of it
  std::span<std::uint8_t> out;
  std::uint32_t first_counter = 0;  // index of the first segment counter this region may use
  bool whole_loops = false;         // what comes to a loop from before ends there: its first pass is left to its own region
  bool look_beyond = false;         // loops would gain from flags that are dead behind their exits
  bool marks = true;                // Translation::marks are wanted: they take a tenth of the time
};

/// A stretch of a region that is executed as a whole or not at all (but for faults): one counter.
struct Segment {
  std::uint32_t emulated = 0;  // FMAs
  std::uint32_t excluded = 0;
  std::uint32_t fp64 = 0;           // FMAs of double precision, run as they are
  std::uint32_t fp64_emulated = 0;  // and under the operator
  std::uint32_t dots_emulated = 0;  // VDPBF16PS under an operator
  std::uint32_t dots = 0;           // VDPBF16PS as they are
  std::uint32_t conversions = 0;    // to BF16
  std::uint32_t lanes = 0;          // of the emulated FMAs, summed
  std::uint32_t chunked = 0;        // emulated FMAs whose sums go to binary32 totals
  std::uint32_t bounded = 0;        // emulated FMAs of a loop that is there twice: this is the bounded one
  std::uint32_t unbounded = 0;      // and this the full one
  std::uint32_t instructions = 0;   // machine instructions emitted for it, copies of guest instructions included
  bool any() const { return emulated + excluded + fp64 + fp64_emulated + dots_emulated + dots + conversions > 0; }
};

/// How the registers of a widened loop (widen.h) are laid out: two of the program's 256-bit registers share a 512-bit one. Registers are bits.
struct Layout {
  std::uint32_t pairs = 0;     // lower registers
  std::uint32_t splats = 0;    // the same 256 bits twice
  std::uint8_t high[32] = {};  // by lower register: the upper one
  /// Registers whose bits from 256 on are ours; the program's own are zero.
  std::uint32_t wide() const { return pairs | splats; }
};

/// A register of a loop that holds a partial sum, and how many lanes of it: the program's value is that and the total in scratch, added up.
struct Accumulator {
  bool scalar = false;
  std::uint16_t bits = 0;  // width of the instructions; scalar: of the lowest lane alone
  std::uint16_t fmas = 0;  // accumulations in one pass
};

enum class RegisterFile : std::uint8_t { vector, gpr, opmask };

/// A guest register whose true value is in scratch at some point of the region.
struct Spilled {
  RegisterFile file;
  std::uint8_t index;  // zmm0-31, gpr 0-15 in encoding order, k0-7
  std::int32_t fs_offset;
};

/// A guest register that shows a partial sum (its value, or that in scratch); the rest of the sum is the total.
struct Total {
  std::uint8_t index;  // zmm0-31
  std::uint8_t lanes;  // the lowest FP32 lanes: partial + total in binary32, to nearest; those above are the register's own
  std::int32_t fs_offset;
};

/// The guest's view of one point inside emitted code, for faults and signals. Registers that the straight-line guest code overwrites before it
/// reads them may show another value: nobody can tell but a handler that looks.
struct GuestState {
  Address rip = 0;               // the guest instruction that is being executed
  std::vector<Spilled> spilled;  // registers to be read from scratch to see the guest's values
  std::vector<Total> totals;     // then: registers to which a total is added
  std::uint32_t upper = 0;       // then: registers whose upper half is the value of register layout.high[r]
  std::uint32_t narrow = 0;      // then: registers whose bits from 256 on are zeros
  Layout layout;
  Segment not_executed;  // FMAs of the current segment that were counted but have not run yet
  /// Where the guest's MXCSR is while emitted code computes under one of its own, as an fs displacement; 0: in the register.
  std::int32_t mxcsr_home = 0;
  bool to_nearest = false;  // the code counts on the rounding mode that it found
  /// The instruction that faulted is the load of a counter: the thread has no counter block yet. `counter_base` is the GPR (encoding
  /// order) that holds the null base; setting it and fs:[counters] to the block and returning retries the access.
  bool counter_access = false;
  std::uint8_t counter_base = 0;
};

/// From here to the next mark emitted code shares one guest state. Compact; guest_state() makes it readable.
struct Mark {
  std::uint32_t offset = 0;   // from the start of the region's code
  std::uint32_t vectors = 0;  // bit r: zmm r is in scratch, at Translation::vector_home[r]
  std::uint32_t totals = 0;   // bit r: zmm r is a partial sum; the total is at Translation::totals + 64 * r
  Address rip = 0;
  std::uint16_t gprs = 0;                                                 // bit r: GPR r is in scratch, at Translation::gpr_home[r]
  std::uint16_t emulated = 0, excluded = 0, fp64 = 0, fp64_emulated = 0;  // counted, not executed
  std::uint16_t dots_emulated = 0, dots = 0, conversions = 0;             // the same
  std::uint8_t counter_base = 0xff;                                       // GPR with the counter block's address; 0xff: not a counter access
  bool widened = false;                                                   // Translation::layout holds
  std::uint32_t upper = 0;                                                // as in GuestState
  bool own_mxcsr = false;                                                 // the guest's MXCSR is in scratch, at Translation::mxcsr_home
  std::uint8_t opmasks = 0;                                               // bit k: opmask k is in scratch, at Translation::opmask_home
  bool to_nearest = false;                                                // as in GuestState
  bool operator==(const Mark&) const = default;
};

enum class TranslateStatus : std::uint8_t {
  ok,
  out_of_space,  // `out` too small: call again with more
  unreachable,   // an operand or exit cannot be reached with rel32 from `at`: call again with `at` nearer
  unsupported,   // the first instruction is not one core can move; the site must be reported
};

struct Translation {
  TranslateStatus status = TranslateStatus::unsupported;
  std::size_t size = 0;               // bytes used in `out`
  std::vector<Segment> segments;      // counter first_counter+i belongs to segments[i]
  std::vector<Mark> marks;            // ascending by offset; empty where they are not wanted
  std::int32_t vector_home[32] = {};  // fs displacement of each spilled vector register; 64 bytes wide if machine.avx512, else 32
  std::int32_t gpr_home[16] = {};
  std::int32_t totals = 0;
  Accumulator accumulator[32];
  Layout layout;
  std::int32_t mxcsr_home = 0;
  std::int32_t opmask_home[8] = {};
  std::vector<Extent> guest;  // guest bytes this region was compiled from (a later write to them invalidates it)
};

/// Compiles the region that starts at `request.entry`. Pure: same request, same bytes. Throws nothing.
Translation translate(const Request& request);

/// The lowest `lanes` lanes of a partial sum become the whole sum, as emitted code adds: of two NaNs the partial sum's stays. MXCSR must be the default.
void add_total(float* partial, const std::uint8_t* total, unsigned lanes);

/// What the guest would see at `offset` inside the region's code.
GuestState guest_state(const Translation& translation, std::uint32_t offset);

}  // namespace fase::core
