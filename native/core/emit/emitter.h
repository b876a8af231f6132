// Turns a trace into machine code. One walk over the steps with a model of what every vector register holds (State); a loop's body is walked
// again from the state that was found to hold around it.
//
// Files: emitter.cpp the walk; registers.cpp borrowing and giving back; fma.cpp one FMA under the operator; fma64.cpp one in double precision;
// compound.cpp one under a compound operator; dot.cpp one VDPBF16PS; random.cpp the random bits of stochastic rounding; loop.cpp what is done before a
// loop; chunks.cpp a loop's binary32 totals; nans.cpp roundings out of line; bounded.cpp loops that are there twice (digest.cpp: where
// control may change between them), embedded.cpp broadcasts there; counters.cpp segment counters, exits and marks.
#pragma once
#include <algorithm>
#include <bit>
#include <vector>

#include "core/assemble/assembler.h"
#include "core/emit/dot.h"
#include "core/emit/lookahead.h"
#include "core/emit/memory_plan.h"
#include "core/emit/roles.h"
#include "core/emit/rounder.h"
#include "core/emit/state.h"
#include "core/region/analysis.h"

namespace fase::core {

/// An accumulator that could be rounded once before the loop.
struct FirstRounding {
  bool valid = false;
  bool scalar = false;
  Format format;
  std::uint16_t bits = 0;
};

/// A rounding of a factor: `src` into `dst`.
struct Factor {
  int dst = 0, src = 0;
  Format format;
  unsigned bits = 0;
};

/// What a rounding is of.
enum class Rounded : std::uint8_t { factor, addend, result };

/// One rounding as it will be emitted.
struct RoundingCode {
  Rounder rounder;
  unsigned bits = 0, mask = 0;
  int dst = 0, src = 0, temporary = -1;
  Rounded what = Rounded::factor;
};

/// Roundings that the loop leaves to code behind it: of NaNs, or of what a bounded loop does not expect.
struct Detour {
  std::uint32_t fixup = 0, back = 0;  // of the branch there; where it ends
  RoundingCode rounding[2];
  int count = 0;
  Mark mark;
  int departure = -1;  // from a bounded loop: which, if an input is not bounded
};

/// Something established before the first step, which then holds whenever control passes there.
struct EntryPlan {
  State state;
  std::uint32_t round_in_place = 0;  // sources: saved, then rounded
  std::uint32_t round_operand = 0;   // accumulators: rounded
  Format format[32];
  std::uint16_t bits[32] = {};
  bool scalar[32] = {};
};

class Emitter : public ConstantSource {
 public:
  Emitter(const Request& request, const Trace& trace, const Analysis& analysis);

  /// Loops under this operator can be bounded.
  static bool can_bound(const Operator& op);
  static bool can_bound(const Operator& op, const Analysis& analysis);

  /// False: not enough registers or scratch for this trace; try a shorter one.
  bool run(Translation& out);

  Rm constant(std::uint32_t value) override;
  Rm constant64(std::uint64_t value) override;

 private:
  struct Exit {
    std::uint32_t fixup;
    Address target;
    std::uint32_t vectors;
    std::uint32_t upper;  // pairs
  };

  // emitter.cpp
  bool passes(std::uint32_t pass) const { return passes_ & pass; }
  void start_body();
  void body(const State& at_entry);
  void copy_step(const Step& step);
  void grouped_broadcast(const Step& step);
  void exit_step(const Step& step);
  void after_write(const Insn& insn);
  void straight();
  void finish(Translation& out);
  void add_segments(Translation& out, bool of_full) const;

  // registers.cpp
  int acquire(bool lasting);
  int acquire_temporary();
  void release_temporary(int r);
  int pick_free() const;
  int pick_dead() const;
  int pick_unused() const;
  bool has_spare() const { return pick_free() >= 0 || pick_unused() >= 0; }
  int pick_cached(std::uint32_t* distance) const;
  int pick_victim(std::uint32_t* distance) const;
  std::uint32_t distance_to(int r) const;
  bool save(int r);
  void reload(int r);
  void bring_home(std::uint32_t registers);
  void drop_copies_of(std::uint32_t registers);
  void float_constants();
  int held_constant(std::uint64_t value) const;
  void load_constant(int r, std::uint64_t value);
  void note_constant(std::uint64_t value);
  Mem home(int r) const {
    return Mem::fs(request_.scratch.vectors + static_cast<std::int32_t>(64 * (first_home_ + static_cast<std::uint32_t>(home_[r]))));
  }
  /// Vector registers of the program's that are in use for something else.
  std::uint32_t borrowed() const { return static_cast<std::uint32_t>(std::popcount(state_.displaced & ~spare_)); }
  std::uint32_t register_limit() const { return std::max(request_.limits.scratch_registers, std::max(needed_, 4u)); }
  unsigned spill_bits() const { return request_.machine.avx512 ? 512 : 256; }

  Mem nan_mask_home(std::size_t i) const { return Mem::fs(request_.scratch.words + 8 * (kNanMaskWord + static_cast<std::int32_t>(i))); }

  static constexpr int kBaseWord = 0, kScratchWord = 1, kOpmaskWord = 2, kNanMaskWord = 3, kMxcsrWord = 7;  // words of scratch

  // fma.cpp
  void fma_step(const Step& step);
  void bring_operands_home(const Step& step, const Roles& roles);
  Rm source(const Step& step, int operand, const Roles& roles, bool operand_zero_changes);
  int rounded_register(int r, const Format& f, unsigned bits, bool scalar);
  Factor factor(int r, std::size_t step, const Format& f, unsigned bits);
  void note_rounded(const Factor& x);
  int find_copy(int r, const Format& f, unsigned bits) const;
  Rm memory_source(const Step& step, const Format& f);
  void load_operand(const Insn& insn, int into);
  void load_groups();
  const BroadcastGroup* due_group() const;
  int load_group(const BroadcastGroup& g);
  void store_group(const BroadcastGroup& g, int rounded);
  bool known(int r, const Format& f, bool scalar) const;
  void round(int dst, int src, const Format& f, unsigned bits, bool nan_fix, unsigned mask = 0, Bounds bounds = {});
  void borrow_for_table(Rounder& rounder, unsigned mask);
  void return_from_table(const Rounder& rounder);
  void round_destination(const Insn& insn, const Format& f, bool nan_fix, Bounds bounds = {});
  void note_first_rounding(const Step& step, const Format& f);
  void round_operand_zero(const Step& step, const Format& f);
  void emit_fma(const Insn& insn, const Rm& src1, const Rm& src2);
  void emit_exact_fma(const Insn& insn, const Rm& src1, const Rm& src2);
  void emit_exact_fma2(const Insn& insn, const Rm& src1, const Rm& src2);
  Rm in_register(const Insn& insn, const Rm& source);
  void set_result_grid(const Insn& insn, const Format& d);

  // random.cpp
  void open_draws(unsigned bits);
  int draw(unsigned operand, unsigned bits);
  void close_draws();
  Mem random_word(int base, std::size_t offset) const;

  // nans.cpp
  void choose_nan_masks();
  void open_nan_masks();
  void close_nan_masks();
  bool tests_nans(const Rounder& rounder) const;
  std::uint32_t branch_if_nan(const RoundingCode* roundings, int count);
  void round_unless_nan(const RoundingCode* roundings, int count);
  void round_tested(const RoundingCode* roundings, int count);
  void round_factor(const Factor& x);
  void round_two(const Factor& x, const Factor& y);
  bool pairs_nans(const Format& f) const;
  bool find_partner(const Factor& x, Factor& out);
  std::uint8_t saved_opmasks() const;
  void detours();

  // bounded.cpp
  struct Departure {
    std::uint64_t place;
    std::uint32_t arrival = 0;  // in the full loop
  };
  bool wants_temporary() const;
  void test_window(ConstantSource& k, int opmask, int t, int x, unsigned bits, bool factor);
  static int scratch_of(const RoundingCode& r);
  std::uint32_t branch_unless_ordinary(const RoundingCode* roundings, int count);
  void round_bounded_factors(const RoundingCode* roundings, int count);
  std::uint32_t branch_if_zeros(ConstantSource& k, const Detour& detour);
  void depart_unless_bounded(ConstantSource& k, const Detour& detour);
  void by_adding(int dst, int x, int v, const Format& f);
  void by_multiplying(int x, int u, int scale);
  std::uint64_t place(const RoundingCode* roundings, int count) const;
  void arrive(const RoundingCode* roundings, int count);
  void share_out_sums();
  void round_bounded_sum(int r, const Format& d);
  std::vector<std::uint32_t> enter_bounded(const EntryPlan& plan);

  // embedded.cpp
  bool multiplies_by(const Step& step, int r) const;
  bool undisturbed_until(std::size_t last) const;
  bool can_embed(const Step& step, const BroadcastGroup& group) const;
  void embed(int r, const Mem& element);
  void place_embedded(const Insn& insn, Rm& src1, Rm& src2);

  // compound.cpp
  void compound_step(const Step& step);
  void split(const int* into, int x, const Format& f, unsigned bits, bool nan_fix);
  void sum_of_literals(int into, int x, const Format& f, unsigned bits, bool nan_fix);
  bool kept_memory_literals(int (&out)[3], const Format& f, unsigned bits);
  void keep_memory_literals(const int (&literal)[3], const Format& f, unsigned bits);
  void store_literals(const BroadcastGroup& g, int x);
  void grouped_copies(const Step& step);
  void round_sum(int into, int x, const Format& f, unsigned bits);
  void factor_literals(int (&out)[3], int value, int r, const Format& f, unsigned bits);
  void arithmetic(const VectorOp& op, unsigned bits, int dst, int first, int second);
  void nothing_after_specials(int rest, int literal, unsigned bits);

  // chunks.cpp
  static constexpr int kRcx = 1;  // which jrcxz looks at
  Accumulator accumulator(int r) const { return analysis_.accumulator[r]; }
  Grid empty_sum_grid(int r) const;
  Mem total(int r) const { return Mem::fs(request_.scratch.totals + 64 * r); }
  Mem left(int r) const;
  void start_totals();
  void start_sum(int r);
  void add_total(int r);
  void add_totals();
  void fold(std::uint32_t registers);
  void accumulated(int r);
  void end_pass();
  void end_pass_of(std::uint32_t registers);
  std::uint32_t skip_unless_left(const Mem& word, std::uint32_t accumulations);
  bool open_rcx();
  void close_rcx(bool saved);

  // mxcsr.cpp
  void open_mxcsr(std::uint32_t own);
  void close_mxcsr();
  Mem mxcsr_home() const { return Mem::fs(request_.scratch.words + 8 * kMxcsrWord); }

  // dot.cpp
  void dot_step(const Step& step);
  int dot_factor(const Operand& o, int memory, Format f, unsigned bits);
  void round_pairs(int dst, int src, Format f, unsigned bits);
  void half_product(int sum, int a, int b, bool odd, unsigned bits);

  // fma64.cpp
  void fma64_step(const Step& step);
  bool known64(int r, const Format64& f, bool scalar) const;
  void round64(int dst, int src, const Format64& f, unsigned bits, unsigned mask = 0);
  int rounded_register64(int r, const Format64& f, unsigned bits, bool scalar);
  Rm source64(const Step& step, int operand, const Format64* const (&roles)[3], bool operand_zero_changes);
  void load_operand64(const Insn& insn, int into);
  void round_destination64(const Insn& insn, const Format64& f);
  void set_result_grid64(const Insn& insn);
  void forget_grid64(std::uint32_t registers);

  // loop.cpp
  void loop();
  State entry_state() const;
  void pack();
  void unpack(std::uint32_t upper);
  EntryPlan entry_plan_for_loop(const State& end);
  void prologue(const EntryPlan& plan);
  bool pass(EntryPlan& plan);
  bool both_passes(EntryPlan& plan);
  bool close_loop(EntryPlan& plan);
  void choose_constants(EntryPlan& plan);
  void note_hot_constants(const EntryPlan& plan);

  // counters.cpp
  void choose_counter_base();
  void open_counter_base();
  void count_segment_if_due();
  void count(const SegmentPlan& segment);
  Mem counter(int base, const SegmentPlan& segment) const;
  bool full() const { return twice_ && !bounded_; }
  int spare_gpr(std::uint32_t avoid) const;
  bool gpr_free_at(int g) const;
  void save_gpr(int g, int word);
  void restore_gpr(int g);
  int borrow_gpr();
  void return_gpr(int g);
  void leave(std::uint32_t vectors, std::uint32_t upper, Address target);
  void exit_stubs();
  void mark(Address rip);
  Mark last_mark() const;
  void put_mark(Mark m);
  void remark() { mark(rip_); }
  void enter_segment();

  void fail() { failed_ = true; }
  void start_pass(bool trial = false);

  const Request& request_;
  const std::uint32_t passes_;
  const Trace& trace_;
  const Analysis& analysis_;
  Isa isa_;
  std::uint32_t needed_;    // registers of ours that one FMA can need at once
  const bool twice_;        // the loop is emitted twice, bounded and in full
  const bool brings_nans_;  // to results
  const Bounds sum_bounds_;
  DotOperator dot_;
  LookAhead ahead_;
  MemoryPlan memory_;
  Assembler asm_;

  State state_;
  std::uint32_t spare_ = 0;  // upper registers of pairs that the widened loop never touches: ours, and nothing to save
  bool packed_ = false;      // trace_.layout holds
  bool failed_ = false;
  std::size_t step_ = 0;    // current step
  std::size_t from_ = 0;    // first step whose accesses still count: step_ + 1 inside a step
  std::uint32_t busy_ = 0;  // registers that must not be borrowed now
  std::int8_t home_[32];    // slot of each register that was ever saved
  std::uint8_t homes_ = 0;
  std::uint32_t first_home_ = 0, home_limit_ = 0;  // slots of scratch

  std::vector<std::uint64_t> hot_constants_;  // wanted in registers, for which no unused register was left
  struct ConstantUse {
    std::uint64_t value;  // as in Holder
    std::uint32_t uses;
  };
  std::vector<ConstantUse> constant_uses_;  // of the current pass
  FirstRounding first_[32];

  std::uint32_t totals_ = 0;      // accumulators that show partial sums now
  std::uint16_t added_[32] = {};  // accumulations of this pass so far, by accumulator

  std::vector<int> nan_masks_;   // opmasks for tests, all through the loop: two, fewer where there are no more
  bool nan_masks_open_ = false;  // the guest's are in scratch
  std::vector<Detour> detours_;

  std::uint32_t embedded_ = 0;  // registers whose value is an element of scratch
  Mem element_[32];

  bool bounded_ = false;                  // what is being emitted is the bounded loop
  std::uint32_t factors_ = 0, sums_ = 0;  // that it has rounded in this pass
  std::uint32_t adding_ = 2;              // one sum of so many is rounded by adding
  std::vector<Departure> departures_;     // from there to the full one
  std::size_t arrived_ = 0;               // how many of them the full one has passed

  std::vector<Rm> prepared_;           // factors of the current FMA
  Rounded rounded_ = Rounded::factor;  // what is being rounded
  unsigned operand_ = 0;               // what is being rounded, 0 to 3 for a to d: it has random bits of its own
  int words_ = -1;                     // register with the words that its random bits come from

  std::size_t next_group_ = 0;  // not loaded yet
  std::vector<Exit> exits_;
  std::vector<Mark> marks_;
  std::vector<std::uint32_t> segment_instructions_[2];  // of the loop, or the bounded one; of the full one
  std::size_t segment_ = 0;
  bool counted_ = false;
  Segment pending_;  // of the current segment: not executed yet
  std::uint32_t segment_start_ = 0;
  Address rip_ = 0;
  int base_ = -1;                       // GPR that holds the counter block all through the region; -1: none
  std::uint8_t counter_access_ = 0xff;  // the GPR, while a counter is being accessed
  bool own_mxcsr_ = false;              // the guest's is in scratch
  std::int8_t gpr_word_[16] = {};
  std::uint16_t gprs_ = 0;  // GPRs whose guest value is in scratch now
};

}  // namespace fase::core
