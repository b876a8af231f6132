// Guest code, an instruction at a time.
#pragma once
#include <algorithm>

#include "core/region/trace.h"

namespace fase::core {

/// Reads guest code through a small window, so that one virtual call serves many instructions. What a trace has, `before`, is not decoded again.
class Reader {
 public:
  Reader(const Request& request, const Trace* before) : code_(*request.code), bounds_(request.bounds), before_(before) {}

  bool decode_at(Address at, Insn& out) {
    if (!bounds_.contains(at)) return false;
    if (before_ != nullptr && met_ < before_->steps.size() && before_->steps[met_].insn.address == at) {
      out = before_->steps[met_++].insn;
      return true;
    }
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
  const Trace* before_;
  std::size_t met_ = 0;  // its steps, from the first on
  Address start_ = 0;
  std::size_t size_ = 0;
  std::uint8_t window_[512];
};

}  // namespace fase::core
