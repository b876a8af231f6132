#include "core/discover/walk.h"

#include <algorithm>
#include <cstring>

#include "core/discover/pattern.h"

namespace fase::core {
namespace {

/// Instructions that orphan code must have when it runs into known code instead of ending: more than a table would give by chance.
constexpr std::size_t kLongRun = 16;
constexpr std::size_t kMinimumAfterData = 16;
constexpr Address kFunctionAlignment = 16;

}  // namespace

Walk::Walk(const CodeView& code, Extent window) : code_(code), window_(window), bytes_(window.size() + kMaxInstruction), marks_(window.size()) {
  const std::size_t readable = code.read(window.begin, bytes_.data(), bytes_.size());
  bytes_.resize(readable);
  if (readable < window_.size()) window_.end = window_.begin + readable;
}

void Walk::clear(Address begin, Address end) {
  for (Address b = begin; b < end && b < window_.end; ++b) marks_.clear(offset(b));
}

void Walk::note(const Step& s) {
  constants_ |= s.constant;
  if (s.data != 0 && window_.contains(s.data)) data_.push_back({s.data, s.data + s.data_bytes});
  if (s.pointer != 0 && window_.contains(s.pointer)) pointers_.push_back(s.pointer);
}

void Walk::descend(Address entry, bool calls) {
  pending_.push_back(entry);
  while (!pending_.empty()) {
    const Address a = pending_.back();
    pending_.pop_back();
    if (window_.contains(a)) follow(a, calls);
  }
}

/// Decodes straight on from `from` until control leaves, known code is met, or nothing valid follows. A call may not return: what was decoded
/// since the last one is taken back when it leads to something that is no code.
void Walk::follow(Address from, bool calls) {
  Address a = from, after_call = 0;
  std::size_t targets_before_call = pending_.size();
  const auto take_back = [&] {
    if (after_call == 0) {
      incomplete_ |= a != from;
      return;
    }
    clear(after_call, a);
    pending_.resize(targets_before_call);
  };
  while (window_.contains(a)) {
    if (mark(a) == Mark::start) return;
    const Step s = step_at(a);
    if (s.length == 0 || !free(a, s.length)) return take_back();
    set(a, s.length);
    note(s);
    a += s.length;
    switch (s.kind) {
      case StepKind::end:
      case StepKind::tail_call: return;
      case StepKind::indirect_jump: incomplete_ = true; return;
      case StepKind::jump: pending_.push_back(s.target); return;
      case StepKind::branch: pending_.push_back(s.target); break;
      case StepKind::call:
        if (calls) pending_.push_back(s.target);
        after_call = a;
        targets_before_call = pending_.size();
        break;
      case StepKind::plain: break;
    }
  }
}

bool Walk::data_in(Address begin, Address end) const {
  for (const Extent& d : data_)
    if (d.begin < end && d.end > begin) return true;
  if (incomplete_) return false;  // an address made may be that of a jump table's target
  for (const Address p : pointers_)
    if (p >= begin && p < end) return true;
  return false;
}

Address Walk::skip_padding(Address a, Address end) const {
  while (a < end) {
    if (*at(a) == 0) {
      ++a;
      continue;
    }
    const Step s = step_at(a);
    if (!s.padding || a + s.length > end) break;
    a += s.length;
  }
  return a;
}

bool Walk::believable(const Step& s, Evidence evidence) const {
  if (s.length == 0 || s.privileged) return false;
  if (evidence == Evidence::function) return true;
  if (s.rare || (s.padding && s.kind == StepKind::end)) return false;  // int3 pads, it ends nothing
  // A jump leads to code, and not into the middle of an instruction.
  if (s.target == 0) return true;
  if (window_.contains(s.target)) return mark(s.target) != Mark::inside;
  std::uint8_t byte;
  return code_.read(s.target, &byte, 1) == 1;
}

/// One straight run of undecoded bytes: accepted when every instruction is believable up to one that ends it.
Walk::Run Walk::run_of(Address begin, Address end, Evidence evidence) const {
  Address a = begin;
  std::size_t instructions = 0;
  while (a < end && mark(a) == Mark::unknown) {
    const Step s = step_at(a);
    if (!believable(s, evidence) || a + s.length > end || !free(a, s.length)) return {begin, a, instructions, false};
    a += s.length;
    instructions += !s.padding;
    const bool ends = s.kind == StepKind::end || s.kind == StepKind::jump || s.kind == StepKind::tail_call || s.kind == StepKind::indirect_jump;
    if (ends) return {begin, a, instructions, evidence == Evidence::function || !data_in(begin, a)};
  }
  // Ran into decoded code, or out of the window.
  if (evidence == Evidence::function) return {begin, a, instructions, true};
  return {begin, a, instructions, instructions >= kLongRun && !data_in(begin, a)};
}

void Walk::accept(const Run& run) {
  std::vector<Address> targets;
  for (Address a = run.begin; a < run.end;) {
    const Step s = step_at(a);
    set(a, s.length);
    note(s);
    if (window_.contains(s.target)) targets.push_back(s.target);
    a += s.length;
  }
  for (const Address target : targets)  // what it jumps over is no part of the next run
    if (mark(target) == Mark::unknown) descend(target, false);
}

/// Four equal 32-bit lanes in a row: a constant as JIT compilers replicate it for vector loads. Instructions do not do that.
bool Walk::repeats_lanes(Extent range) const {
  for (Address a = (range.begin + 3) & ~Address{3}; a + 16 <= range.end; a += 4)
    if (std::memcmp(at(a), at(a) + 4, 12) == 0) return true;
  return false;
}

/// Takes runs that follow each other directly, one function. An orphan one is worth believing only for an FMA in it, and behind data (which a
/// table's end cannot be told from) only when it is long.
void Walk::accept_group(const std::vector<Run>& runs, Extent gap, Evidence evidence) {
  if (runs.empty()) return;
  if (evidence == Evidence::orphan) {
    const Extent all{runs.front().begin, runs.back().end};
    if (!any_fma_pattern(at(all.begin), all.size(), bytes_.size() - offset(all.end))) return;
    std::size_t instructions = 0;
    for (const Run& run : runs) instructions += run.instructions;
    Address code_end = all.begin;  // of what is known to be code before it
    while (code_end > gap.begin && mark(code_end - 1) == Mark::unknown) --code_end;
    if (data_in(code_end, all.begin) && (instructions < kMinimumAfterData || repeats_lanes(all))) return;
  }
  for (const Run& run : runs) accept(run);
}

void Walk::sweep(Extent gap, Evidence evidence) {
  // Where the window cuts code, nothing says where an instruction starts: every byte is tried. Elsewhere functions are aligned.
  bool aligned = evidence == Evidence::orphan && gap.begin != window_.begin;
  std::vector<Run> group;
  for (Address a = gap.begin; (a = skip_padding(a, gap.end)) < gap.end;) {
    if (mark(a) != Mark::unknown) {  // a run accepted before led here
      ++a;
      continue;
    }
    const Run run = run_of(a, gap.end, evidence);
    if (a > gap.begin && *at(a - 1) == 0) {  // zeros, which no compiler pads with inside a function
      accept_group(group, gap, evidence);
      group.clear();
    }
    if (run.accepted) {
      group.push_back(run);
      a = run.end;
      aligned = evidence == Evidence::orphan;
      continue;
    }
    accept_group(group, gap, evidence);
    group.clear();
    a = aligned ? (a + kFunctionAlignment) & ~(kFunctionAlignment - 1) : a + 1;
  }
  accept_group(group, gap, evidence);
}

void Walk::sweep_gaps(Extent range, Evidence evidence) {
  const std::size_t end = window_.size();
  for (std::size_t i = marks_.next_unknown(0, end); i < end && window_.begin + i < range.end; i = marks_.next_unknown(i, end)) {
    const std::size_t gap_end = marks_.next_known(i, end);
    const Extent gap{window_.begin + i, window_.begin + gap_end};
    if (gap.end > range.begin) sweep(gap, evidence);
    i = gap_end;
  }
}

Discovery Walk::result(Extent range) const {
  Discovery out;
  out.constants = constants_;
  const std::size_t end = window_.size();
  for (std::size_t i = marks_.next_known(0, end); i < end;) {
    const std::size_t next = marks_.next_outside(i + 1, end + kMaxInstruction);  // the last may reach over the end
    note_instruction(i, next, out);
    i = marks_.next_known(next, end);
  }
  for (Address a = std::max(range.begin, window_.begin); a < std::min(range.end, window_.end); ++a)
    if (mark(a) == Mark::unknown && looks_like_fma(at(a), bytes_.size() - offset(a))) out.unconfirmed.push_back(a);
  return out;
}

void Walk::note_instruction(std::size_t begin, std::size_t end, Discovery& out) const {
  const Address a = window_.begin + begin;
  if (out.covered.empty() || out.covered.back().end != a) out.covered.push_back({a, a});
  out.covered.back().end = std::min(window_.begin + end, window_.end);
  ++out.instructions;
  const std::size_t prefixes = count_prefixes(at(a), bytes_.size() - begin);
  const std::uint8_t* p = at(a) + prefixes;
  if (!looks_like_fma(p, bytes_.size() - begin - prefixes)) return;
  out.sites.push_back({a, static_cast<std::uint8_t>(end - begin), p[2] >= 0x80, bf16_pattern(p)});  // W, in both encodings
}

}  // namespace fase::core
