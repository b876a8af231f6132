// What an emitter knows at one point as a number of 64 bits, to tell whether two points agree.
#pragma once
#include <cstdint>

#include "core/assemble/assembler.h"
#include "core/emit/state.h"

namespace fase::core {

class Digest {
 public:
  std::uint64_t value() const { return value_; }
  void add(std::uint64_t word);
  void add(const Format& f);
  void add(const Holder& h);
  void add(const State& s);
  void add(const Rm& rm);

 private:
  std::uint64_t value_ = 0;
};

}  // namespace fase::core
