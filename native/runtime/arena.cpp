#include "runtime/arena.h"

#include <cstring>

#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {
namespace {

constexpr std::uint64_t kReach = (std::uint64_t{1} << 31) - (std::uint64_t{1} << 16);  // rel32, with room for instruction lengths
constexpr std::uint64_t kStep = std::uint64_t{8} << 20;
constexpr std::uint64_t kHeapRoom = std::uint64_t{512} << 20;  // the program break grows upward from the executable
constexpr std::uint64_t kLowest = std::uint64_t{1} << 20;
constexpr std::uint64_t kHighest = std::uint64_t{0x7fff'ffff'0000};

bool reaches(core::Extent arena, core::Extent served) {
  std::uint64_t low = arena.begin < served.begin ? arena.begin : served.begin;
  std::uint64_t high = arena.end > served.end ? arena.end : served.end;
  return high - low <= kReach;
}

bool try_reserve(core::Address at) {
  long p = sys::map(at, Arena::kSize, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE);
  if (sys::failed(p)) return false;
  if (static_cast<core::Address>(p) == at) return true;
  sys::unmap(static_cast<std::uint64_t>(p), Arena::kSize);  // a kernel without MAP_FIXED_NOREPLACE takes it as a hint
  return false;
}

}  // namespace

core::Address Arena::take_slot() {
  core::Address slot = slots_;
  slots_ += 8;
  return slot;
}

void Arena::make_thunk(core::Address slot) {
  const core::Address thunk = thunk_of(slot);
  auto* p = reinterpret_cast<std::uint8_t*>(thunk);
  std::int32_t displacement = static_cast<std::int32_t>(slot - (thunk + 6));
  p[0] = 0xff, p[1] = 0x25;  // jmp [rip+disp32]
  std::memcpy(p + 2, &displacement, 4);
  p[6] = p[7] = 0xcc;
}

std::span<std::uint8_t> Arena::code_space() const {
  return {reinterpret_cast<std::uint8_t*>(code_), static_cast<std::size_t>(base_ + kSize - code_)};
}

void Arena::commit_code(std::size_t size) { code_ = (code_ + size + 31) & ~std::uint64_t{31}; }

Arena& Arenas::near(core::Extent served, std::size_t code) {
  for (std::uint32_t i = 0; i < count_.load(std::memory_order_relaxed); ++i) {
    Arena* arena = arenas_[i];
    if (reaches(arena->extent(), served) && arena->has_slot() && arena->code_space().size() >= code) return *arena;
  }
  return create(served);
}

Arena& Arenas::create(core::Extent served) {
  // Nearest free place below or above, in steps: maps files list neighbours, but probing needs no file and no parsing.
  for (std::uint64_t distance = kStep; distance < kReach; distance += kStep) {
    core::Address below = (served.begin - distance - Arena::kSize) & ~(kStep - 1);
    core::Address above = (served.end + distance + kHeapRoom) & ~(kStep - 1);
    for (core::Address at : {below, above}) {
      bool sane = at >= kLowest && at < kHighest;
      if (sane && reaches({at, at + Arena::kSize}, served) && try_reserve(at)) {
        std::uint32_t n = count_.load(std::memory_order_relaxed);
        if (n == kMost) die(Line() << "the program scatters its code too widely: more than " << n << " arenas");
        arenas_[n] = new Arena(at);
        count_.store(n + 1, std::memory_order_release);
        return *arenas_[n];
      }
    }
  }
  die(Line() << "no free address space within 2 GiB of the code at " << Line().hex(served.begin).view());
}

bool Arenas::contains(core::Address a) const {
  for (std::uint32_t i = 0, n = count_.load(std::memory_order_acquire); i < n; ++i) {
    if (arenas_[i]->extent().contains(a)) return true;
  }
  return false;
}

}  // namespace fase::runtime
