// Guest code, an instruction at a time.
#pragma once
#include <algorithm>

#include "core/decode/decode.h"

namespace fase::core {

/// Reads guest code through a small window, so that one virtual call serves many instructions.
class Reader {
 public:
  Reader(const CodeView& code, Extent bounds) : code_(code), bounds_(bounds) {}

  bool decode_at(Address at, Insn& out) {
    if (!bounds_.contains(at)) return false;
    if (at < start_ || at + kMaxInstruction > start_ + size_) fill(at);
    if (at < start_ || at >= start_ + size_) return false;
    return decode(window_ + (at - start_), size_ - (at - start_), at, out) && out.next() <= bounds_.end;
  }

 private:
  void fill(Address at) {
    start_ = at;
    size_ = code_.read(at, window_, std::min<std::size_t>(sizeof window_, bounds_.end - at));
  }

  const CodeView& code_;
  Extent bounds_;
  Address start_ = 0;
  std::size_t size_ = 0;
  std::uint8_t window_[512];
};

}  // namespace fase::core
