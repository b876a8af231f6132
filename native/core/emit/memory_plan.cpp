#include "core/emit/memory_plan.h"

#include <algorithm>

#include "core/emit/broadcast_groups.h"
#include "core/emit/roles.h"

namespace fase::core {
namespace {

constexpr int kAddendLast = 1;  // 213

std::uint16_t address_mask(const Mem& m) {
  unsigned mask = 0;
  if (m.base < 16) mask |= 1u << m.base;
  if (m.index < 16) mask |= 1u << m.index;
  return static_cast<std::uint16_t>(mask);
}

/// How far address registers have moved by constants, and when last in another way.
class Addresses {
 public:
  void follow(const Insn& k, std::uint16_t now) {
    std::int64_t distance = 0;
    const int by_constant = moved_register(k, distance);
    for (int g = 0; g < 16; ++g) {
      if (!(k.writes.gprs >> g & 1)) continue;
      if (g == by_constant) moved_[g] += distance;
      else changed_[g] = now;
    }
  }

  std::int64_t moved(const Mem& m) const { return (m.base < 16 ? moved_[m.base] : 0) + (m.index < 16 ? moved_[m.index] * m.scale : 0); }

  std::uint16_t changed(const Mem& m) const {
    std::uint16_t last = 0;
    for (int g = 0; g < 16; ++g)
      if (address_mask(m) >> g & 1) last = std::max(last, changed_[g]);
    return last;
  }

 private:
  /// The register that `k` adds a constant to, -1 if it does nothing of the kind.
  static int moved_register(const Insn& k, std::int64_t& distance) {
    if (k.operand_count != 2 || k.operands[0].kind != OperandKind::gpr || k.operands[0].bits != 64) return -1;
    const int g = k.operands[0].index;
    if (k.mnemonic == ZYDIS_MNEMONIC_LEA) {
      if (k.memory.base != g || k.memory.index != kNoRegister || k.memory.address32) return -1;
      distance = k.memory.disp;
      return g;
    }
    if (!k.has_immediate) return -1;
    distance = k.mnemonic == ZYDIS_MNEMONIC_SUB ? -k.immediate : k.immediate;
    return k.mnemonic == ZYDIS_MNEMONIC_ADD || k.mnemonic == ZYDIS_MNEMONIC_SUB ? g : -1;
  }

  std::int64_t moved_[16] = {};
  std::uint16_t changed_[16] = {};
};

bool broadcast_load(const Insn& k) {
  return k.mnemonic == ZYDIS_MNEMONIC_VBROADCASTSS || k.mnemonic == ZYDIS_MNEMONIC_VBROADCASTSD || k.mnemonic == ZYDIS_MNEMONIC_VBROADCASTF32X2;
}

/// The operand that `step` reads and rounds, if it can be planned for: an FMA's, or a broadcast load for FMAs only.
bool planned_read(const Trace& trace, std::size_t step, const LookAhead& ahead, const Operator& op, bool loads, Read& out) {
  const Step& s = trace.steps[step];
  const Insn& k = s.insn;
  if (!k.memory.present || k.mask != 0 || k.memory.address32) return false;
  out.load = out.kept = false;
  out.elements = 1;
  if (s.emulated()) {
    if (op.is_compound() && k.fma.form == kAddendLast) return false;  // sums of literals are not planned for
    out.format = roles_of(k.fma, op).format(2);
    out.broadcast = k.broadcast;
    out.bits = static_cast<std::uint16_t>(k.fma.scalar ? 32 : k.vector_bits);
    return !out.format.is_fp32() && !out.format.is_stochastic();
  }
  if (!loads || s.kind != StepKind::copy || !broadcast_load(k)) return false;
  const InPlace place = ahead.loaded(k.operands[0].index, step, out.format);
  out.broadcast = true;
  out.load = true;
  out.kept = place.save;
  out.elements = static_cast<std::uint16_t>(k.memory.bytes / 4);
  out.bits = k.vector_bits;
  return place.possible;
}

/// All rounded, unmasked memory operands. An epoch is the last step that stored, or changed an address register of the operand in no known way.
std::vector<Read> collect(const Trace& trace, const Analysis& analysis, const Operator& op, bool loads) {
  const LookAhead ahead(trace, analysis, op);
  std::vector<Read> reads;
  Addresses addresses;
  std::uint16_t last_store = 0;
  std::size_t segment = 0;
  for (std::size_t i = 0; i < trace.steps.size(); ++i) {
    while (segment + 1 < analysis.segments.size() && i >= analysis.segments[segment].last) ++segment;
    const Insn& k = trace.steps[i].insn;
    Read read;
    if (planned_read(trace, i, ahead, op, loads, read)) {
      read.step = static_cast<std::uint16_t>(i);
      read.segment = static_cast<std::uint16_t>(segment);
      read.segment_first = analysis.segments[segment].first;
      read.mem = Mem::of(k.memory);
      read.epoch = std::max(last_store, addresses.changed(read.mem));
      read.mem.disp += addresses.moved(read.mem);
      reads.push_back(read);
    }
    const auto now = static_cast<std::uint16_t>(i + 1);
    if (k.writes_memory) last_store = now;
    addresses.follow(k, now);
  }
  return reads;
}

void find_repeats(const std::vector<Read>& reads, MemoryPlan& plan) {
  for (std::size_t x = 0; x < reads.size(); ++x) {
    for (std::size_t y = x + 1; y < reads.size() && y < x + 64; ++y) {
      if (reads[x].mem.disp != reads[y].mem.disp || reads[x].bits != reads[y].bits) continue;  // nearly all: first what is cheap
      if (reads[x].load || reads[y].load || !same_place(reads[x], reads[y])) continue;
      plan.next_same[reads[x].step] = reads[y].step;
      break;
    }
  }
}

/// Displacements of groups become what they are where the group is loaded.
void settle_addresses(const Trace& trace, MemoryPlan& plan) {
  Addresses addresses;
  std::size_t next = 0;  // groups are in the order of their loads
  for (std::size_t i = 0; i < trace.steps.size(); ++i) {
    for (; next < plan.groups.size() && plan.groups[next].begin == i; ++next)
      plan.groups[next].first.disp -= addresses.moved(plan.groups[next].first);
    addresses.follow(trace.steps[i].insn, static_cast<std::uint16_t>(i + 1));
  }
}

}  // namespace

bool same_place(const Read& x, const Read& y) {
  return x.epoch == y.epoch && x.mem.base == y.mem.base && x.mem.index == y.mem.index && x.mem.scale == y.mem.scale &&
         x.mem.segment == y.mem.segment && x.broadcast == y.broadcast && x.format == y.format;
}

MemoryPlan plan_memory(const Trace& trace, const Analysis& analysis, const Operator& op, const MemoryOptions& options) {
  MemoryPlan plan;
  const std::size_t n = trace.steps.size();
  plan.next_same.assign(n, kNever);
  plan.group.assign(n, kNever);
  plan.element.assign(n, 0);
  plan.kept.assign(n, false);
  const bool groups = options.scratch >= 16;
  std::vector<Read> reads = collect(trace, analysis, op, groups && options.loads);
  if (reads.empty()) return plan;
  if (options.reuse) find_repeats(reads, plan);
  if (!groups) return plan;
  group_broadcasts(std::move(reads), options, plan);
  settle_addresses(trace, plan);
  return plan;
}

}  // namespace fase::core
