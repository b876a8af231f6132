// Borrowing vector registers, and giving them back.
#include <bit>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {
constexpr std::uint32_t kFar = 0xffffffff;
constexpr std::uint32_t kFloatDistance = 10;  // steps a guest register must be idle to make room for a constant
constexpr std::uint32_t kNearUse = 6;         // steps: a cached copy wanted sooner is not dropped if a guest register can make room
}  // namespace

int Emitter::acquire(bool lasting) {
  std::uint32_t cached_at = 0, victim_at = 0;
  int r = pick_free();
  if (r < 0 && !lasting) r = pick_dead();
  if (r < 0 && (r = pick_unused()) >= 0 && !save(r)) r = -1;
  if (r < 0) r = pick_dead();
  if (r < 0) {
    const int cached = pick_cached(&cached_at), victim = pick_victim(&victim_at);
    const bool prefer_cached =
        cached >= 0 && (borrowed() >= register_limit() || victim < 0 || cached_at == kFar || cached_at >= victim_at || cached_at > kNearUse);
    if (prefer_cached) r = cached;
    else if (victim >= 0 && save(victim)) r = victim;
    else r = cached;
  }
  if (r < 0) {
    fail();
    return 0;  // any number: what is emitted from now on is thrown away
  }
  if (!(state_.displaced >> r & 1)) state_.dead |= 1u << r;  // pick_dead: no home needed
  state_.displaced |= 1u << r;
  state_.holder[r] = Holder{Content::free, 0, {}, 0, 0, 0};
  busy_ |= 1u << r;
  return r;
}

int Emitter::acquire_temporary() { return acquire(false); }

void Emitter::release_temporary(int r) {
  busy_ &= ~(1u << r);
  state_.holder[r] = Holder{Content::free, 0, {}, 0, 0, 0};
}

int Emitter::pick_free() const {
  for (std::uint32_t m = state_.displaced & ~busy_; m; m &= ~std::bit_floor(m)) {
    const int r = 31 - std::countl_zero(m);
    if (state_.holder[r].content == Content::free) return r;
  }
  return -1;
}

/// A guest register that is overwritten before it is read or control can leave.
int Emitter::pick_dead() const {
  if (!passes(kDeadRegisters)) return -1;
  for (int r = isa_ == Isa::avx512 ? 31 : 15; r >= 0; --r) {
    if ((busy_ | state_.displaced | state_.in_place) >> r & 1) continue;
    const Touch* t = analysis_.next_touch(r, from_);
    if (t != nullptr && t->kills && !t->reads && analysis_.exits[t->step] == analysis_.exits[step_]) return r;
  }
  return -1;
}

/// A register no instruction of the trace touches. High ones first: they cost nothing when the guest runs SSE code next.
int Emitter::pick_unused() const {
  if (borrowed() >= register_limit()) return -1;
  for (int r = isa_ == Isa::avx512 ? 31 : 15; r >= 0; --r) {
    if ((analysis_.used.vectors | busy_ | state_.displaced) >> r & 1) continue;
    if (home_[r] >= 0 || homes_ < home_limit_) return r;
  }
  return -1;
}

std::uint32_t Emitter::distance_to(int r) const {
  const Touch* t = analysis_.next_touch(r, from_);
  if (t != nullptr) return static_cast<std::uint32_t>(t->step - step_);
  if (!trace_.loop || analysis_.touches[r].empty()) return kFar;
  return static_cast<std::uint32_t>(analysis_.touches[r].front().step + trace_.steps.size() - step_);
}

/// The cached value that is wanted last.
int Emitter::pick_cached(std::uint32_t* distance) const {
  int best = -1;
  *distance = 0;
  for (std::uint32_t m = state_.displaced & ~busy_; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    const Holder& h = state_.holder[r];
    std::uint32_t d;
    if (h.content == Content::copy || h.content == Content::copy64) d = distance_to(h.of);
    else if (h.content == Content::memory) d = h.next_use > step_ ? h.next_use - static_cast<std::uint32_t>(step_) : kFar;
    else continue;
    if (best < 0 || d > *distance) best = r, *distance = d;
  }
  return best;
}

/// The guest register that is touched last.
int Emitter::pick_victim(std::uint32_t* distance) const {
  int best = -1;
  *distance = 0;
  for (int r = isa_ == Isa::avx512 ? 31 : 15; r >= 0; --r) {
    if ((busy_ | state_.displaced) >> r & 1) continue;
    if (home_[r] < 0 && homes_ >= home_limit_) continue;
    const std::uint32_t d = distance_to(r);
    if (best < 0 || d > *distance) best = r, *distance = d;
  }
  return best;
}

/// Puts the guest's value of r into its home. False: scratch is full.
bool Emitter::save(int r) {
  if (state_.in_place >> r & 1) {  // it is there already
    state_.in_place &= ~(1u << r);
    state_.grid[r] = Grid{};
    state_.displaced |= 1u << r;
    return true;
  }
  if (home_[r] < 0) {
    if (homes_ >= home_limit_) return false;
    home_[r] = static_cast<std::int8_t>(homes_++);
  }
  asm_.vector(op::vmovups_store, spill_bits(), r, 0, home(r));
  state_.displaced |= 1u << r;
  remark();
  return true;
}

void Emitter::reload(int r) {
  asm_.vector(op::vmovups_load, spill_bits(), r, 0, home(r));
  if (state_.in_place >> r & 1) state_.grid[r] = Grid{};
  state_.in_place &= ~(1u << r);
  state_.displaced &= ~(1u << r);
  state_.holder[r] = Holder{};
  remark();
}

/// These registers must hold the guest's own values.
void Emitter::bring_home(std::uint32_t registers) {
  for (std::uint32_t m = registers & state_.displaced; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    if (state_.dead >> r & 1) {
      state_.dead &= ~(1u << r);
      state_.displaced &= ~(1u << r);
      state_.holder[r] = Holder{};
      state_.grid[r] = Grid{};
      forget_grid64(1u << r);
    } else {
      reload(r);
    }
  }
}

int Emitter::held_constant(std::uint64_t value) const {
  for (std::uint32_t m = state_.constants & state_.displaced; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    if (state_.holder[r].content == Content::constant && state_.holder[r].value == value) return r;
  }
  return -1;
}

void Emitter::load_constant(int r, std::uint64_t value) {
  const bool wide = isa_ == Isa::avx512;
  const auto low = static_cast<std::uint32_t>(value);
  const bool single = value == twice(low);
  const std::uint32_t index = single ? asm_.constant(low) : asm_.constant64(value);
  const VectorOp& broadcast = single ? op::vbroadcastss : op::vbroadcastsd;
  asm_.vector(wide ? broadcast : op::vmovups_load, wide ? 512 : 256, r, 0,
              Mem{Segment64::none, single ? kPool : kPool64, kNoRegister, 1, static_cast<std::int64_t>(index)});
  state_.holder[r] = Holder{Content::constant, 0, {}, 0, 0, value};
  state_.constants |= 1u << r;
}

/// Where every register is in use, a guest register that is not wanted for a while makes room for a constant that every FMA wants: otherwise the
/// load units are what limits a kernel. Temporaries must still find their places.
void Emitter::float_constants() {
  const std::size_t kept = needed_;
  for (const std::uint64_t value : hot_constants_) {
    if (held_constant(value) >= 0) continue;
    if (borrowed() + kept > register_limit() || homes_ + kept > home_limit_) return;
    std::uint32_t distance = 0;
    const int r = pick_victim(&distance);
    if (r < 0 || distance < kFloatDistance || !save(r)) return;
    load_constant(r, value);
  }
}

void Emitter::drop_copies_of(std::uint32_t registers) {
  for (std::uint32_t m = state_.displaced; m; m &= m - 1) {
    Holder& h = state_.holder[std::countr_zero(m)];
    if ((h.content == Content::copy || h.content == Content::copy64) && (registers >> h.of & 1)) h = Holder{Content::free, 0, {}, 0, 0, 0};
  }
}

}  // namespace fase::core
