// A loop that counts with DEC or INC lets the carry flag through, from before it to whatever is behind it, which hardly ever looks at it: the next
// addition or comparison there replaces all flags. Looking at a few instructions there proves it.
//
// No calling convention is relied on: assembly has its own, and some returns a result in the carry flag. A direct call is followed into what it calls;
// at a return, at an indirect or conditional jump, and where nothing can be read, the flags may be wanted.
#include "core/region/beyond.h"

namespace fase::core {
namespace {

constexpr unsigned kFollowed = 256;  // instructions behind all exits of a loop

/// Goes on with the next instruction, and does to flags what its decoding says.
bool goes_on(const Insn& insn) {
  return insn.flow == Flow::plain || insn.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || insn.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
}

/// Behind one exit after the other.
class CodeBehind {
 public:
  CodeBehind(Reader& reader, std::vector<Extent>& guest) : reader_(reader), guest_(guest) {}

  /// The code at `at` replaces all of `flags` before it reads any. Only then does it join the guest code looked at.
  bool replaced(unsigned flags, Address at) {
    const std::size_t runs = guest_.size();
    guest_.push_back({at, at});
    for (Insn insn; flags != 0;) {
      if (left_ == 0 || !reader_.decode_at(at, insn) || (insn.flags_read & flags) != 0 || !follow(insn, at)) {
        guest_.resize(runs);
        return false;
      }
      flags &= ~static_cast<unsigned>(insn.flags_killed);
      --left_;
    }
    return true;
  }

 private:
  /// To the instruction that is executed next. False where that is not known.
  bool follow(const Insn& insn, Address& at) {
    guest_.back().end = insn.next();
    at = insn.next();
    if (insn.flow != Flow::jump && insn.flow != Flow::call) return goes_on(insn);
    at = insn.target;
    guest_.push_back({at, at});
    return true;
  }

  Reader& reader_;
  std::vector<Extent>& guest_;
  unsigned left_ = kFollowed;
};

}  // namespace

/// From the start of the loop on: a flag that is not replaced before an exit passes through it.
void find_dead_flags(Reader& reader, Trace& trace) {
  CodeBehind code(reader, trace.guest);
  unsigned flags = kArithmeticFlags;
  for (Step& s : trace.steps) {
    if (flags == 0 || (s.insn.flags_read & flags) != 0) return;
    if (s.kind == StepKind::exit) {
      if (!code.replaced(flags, s.target)) return;
      s.dead = static_cast<std::uint16_t>(flags);
    }
    flags &= ~static_cast<unsigned>(s.insn.flags_killed);
  }
}

}  // namespace fase::core
