// Control-flow descent over one window of code, and the linear sweep of what it leaves.
#pragma once
#include <algorithm>
#include <bit>
#include <vector>

#include "core/discover/discover.h"
#include "core/discover/step.h"
#include "core/types.h"

namespace fase::core {

enum class Mark : std::uint8_t { unknown, start, inside };

/// One for every byte of a window, two bits each: functions can have hundreds of pages.
class Marks {
 public:
  explicit Marks(std::size_t bytes) : known_(bytes / 64 + 2), starts_(bytes / 64 + 2) {}
  Mark operator[](std::size_t i) const { return !bit(known_, i) ? Mark::unknown : bit(starts_, i) ? Mark::start : Mark::inside; }
  /// Nothing is known of the `n` bytes from `i` on (n up to an instruction; they may reach over the end, here and below).
  bool free(std::size_t i, std::size_t n) const {
    const std::size_t word = i / 64, shift = i % 64;
    const std::uint64_t next = shift == 0 ? 0 : known_[word + 1] << (64 - shift);
    return ((known_[word] >> shift | next) & ones(n)) == 0;
  }
  /// An instruction.
  void set(std::size_t i, std::size_t n) {
    const std::size_t word = i / 64, shift = i % 64;
    known_[word] |= ones(n) << shift;
    if (shift + n > 64) known_[word + 1] |= ones(n) >> (64 - shift);
    starts_[word] |= std::uint64_t{1} << shift;
  }
  /// The first byte from `i` on of which something is known; `end` where there is none before it.
  std::size_t next_known(std::size_t i, std::size_t end) const {
    return next(i, end, [this](std::size_t w) { return known_[w]; });
  }
  /// The first byte from `i` on of which nothing is known, or `end`.
  std::size_t next_unknown(std::size_t i, std::size_t end) const {
    return next(i, end, [this](std::size_t w) { return ~known_[w]; });
  }
  /// The first byte from `i` on that is not inside an instruction, or `end`.
  std::size_t next_outside(std::size_t i, std::size_t end) const {
    return next(i, end, [this](std::size_t w) { return ~known_[w] | starts_[w]; });
  }
  void clear(std::size_t i) {
    known_[i / 64] &= ~(std::uint64_t{1} << i % 64);
    starts_[i / 64] &= ~(std::uint64_t{1} << i % 64);
  }

 private:
  using Bits = std::vector<std::uint64_t>;
  static bool bit(const Bits& bits, std::size_t i) { return bits[i / 64] >> i % 64 & 1; }
  template <typename Word>
  static std::size_t next(std::size_t i, std::size_t end, Word word) {
    for (; i < end; i = (i / 64 + 1) * 64)
      if (const std::uint64_t left = word(i / 64) >> i % 64; left != 0) return std::min(end, i + static_cast<std::size_t>(std::countr_zero(left)));
    return end;
  }
  static constexpr std::uint64_t ones(std::size_t n) { return (std::uint64_t{1} << n) - 1; }

  Bits known_, starts_;
};

class Walk {
 public:
  /// Reads the code of `window`; what is not readable is left out at its end.
  Walk(const CodeView& code, Extent window);

  Extent window() const { return window_; }
  bool any_fma() const { return any_fma_pattern(bytes_.data(), window_.size(), bytes_.size() - window_.size()); }

  /// Follows control from `entry`; with `calls`, into direct calls too.
  void descend(Address entry, bool calls);
  /// Descent may have missed code: an indirect jump, or an instruction the decoder doesn't know.
  bool incomplete() const { return incomplete_; }

  enum class Evidence : std::uint8_t {
    function,  // the bytes are inside a known function: valid code is enough
    orphan,    // nothing says that this is code: it must read like complete functions
  };
  /// Sweeps the undecoded ranges that overlap `range`, and marks what reads as code.
  void sweep_gaps(Extent range, Evidence evidence);

  /// Sites and covered code of the window, FMA patterns of `range` that are neither.
  Discovery result(Extent range) const;

 private:
  struct Run {
    Address begin = 0;
    Address end = 0;               // past the last instruction decoded
    std::size_t instructions = 0;  // padding aside
    bool accepted = false;
  };

  std::size_t offset(Address a) const { return a - window_.begin; }
  Mark mark(Address a) const { return marks_[offset(a)]; }
  const std::uint8_t* at(Address a) const { return bytes_.data() + offset(a); }
  Step step_at(Address a) const { return step(at(a), bytes_.size() - offset(a), a); }
  bool free(Address a, std::size_t length) const { return marks_.free(offset(a), length); }
  bool repeats_lanes(Extent range) const;
  void set(Address a, std::size_t length) { marks_.set(offset(a), length); }
  void clear(Address begin, Address end);
  void note_instruction(std::size_t begin, std::size_t end, Discovery& out) const;
  void follow(Address from, bool calls);
  void note(const Step& s);
  bool data_in(Address begin, Address end) const;
  Address skip_padding(Address a, Address end) const;
  Run run_of(Address begin, Address end, Evidence evidence) const;
  bool believable(const Step& s, Evidence evidence) const;
  void accept(const Run& run);
  void accept_group(const std::vector<Run>& runs, Extent gap, Evidence evidence);
  void sweep(Extent gap, Evidence evidence);

  const CodeView& code_;
  Extent window_;
  std::vector<std::uint8_t> bytes_;  // of the window and, where readable, up to an instruction more
  Marks marks_;
  std::vector<Address> pending_;   // targets still to be followed
  std::vector<Extent> data_;       // RIP-relative accesses by decoded code, inside the window
  std::vector<Address> pointers_;  // addresses that decoded code makes, inside the window
  bool incomplete_ = false;
  bool constants_ = false;
};

}  // namespace fase::core
