#include "core/emit/memory_plan.h"

#include <algorithm>

#include "core/emit/broadcast_groups.h"
#include "core/emit/roles.h"

namespace fase::core {
namespace {

std::uint16_t address_mask(const Mem& m) {
  unsigned mask = 0;
  if (m.base < 16) mask |= 1u << m.base;
  if (m.index < 16) mask |= 1u << m.index;
  return static_cast<std::uint16_t>(mask);
}

/// The operand that `step` reads and rounds, if it can be planned for: an FMA's, or a broadcast load for FMAs only.
bool planned_read(const Trace& trace, std::size_t step, const LookAhead& ahead, const Operator& op, bool loads, Read& out) {
  const Step& s = trace.steps[step];
  const Insn& k = s.insn;
  if (!k.memory.present || k.mask != 0 || k.memory.address32) return false;
  out.load = false;
  if (s.emulated()) {
    out.format = roles_of(k.fma, op).format[2];
    out.broadcast = k.broadcast;
    out.bits = static_cast<std::uint16_t>(k.fma.scalar ? 32 : k.vector_bits);
    return !out.format.is_fp32();
  }
  if (!loads || k.mnemonic != ZYDIS_MNEMONIC_VBROADCASTSS || s.kind != StepKind::copy) return false;
  const InPlace place = ahead.loaded(k.operands[0].index, step, out.format);
  out.broadcast = true;
  out.load = true;
  out.bits = k.vector_bits;
  return place.possible && !place.save;
}

/// All rounded, unmasked memory operands. An epoch is the last step that stored or changed an address register of the operand.
std::vector<Read> collect(const Trace& trace, const Analysis& analysis, const Operator& op, bool loads) {
  const LookAhead ahead(trace, analysis, op);
  std::vector<Read> reads;
  std::uint16_t last_write[16] = {}, last_store = 0;
  std::size_t segment = 0;
  for (std::size_t i = 0; i < trace.steps.size(); ++i) {
    while (segment + 1 < analysis.segments.size() && i >= analysis.segments[segment].last) ++segment;
    const Insn& k = trace.steps[i].insn;
    Read read;
    if (planned_read(trace, i, ahead, op, loads, read)) {
      read.step = static_cast<std::uint16_t>(i);
      read.segment = static_cast<std::uint16_t>(segment);
      read.mem = Mem::of(k.memory);
      read.epoch = last_store;
      for (int g = 0; g < 16; ++g)
        if (address_mask(read.mem) >> g & 1) read.epoch = std::max(read.epoch, last_write[g]);
      reads.push_back(read);
    }
    const auto now = static_cast<std::uint16_t>(i + 1);
    if (k.writes_memory) last_store = now;
    for (int g = 0; g < 16; ++g)
      if (k.writes.gprs >> g & 1) last_write[g] = now;
  }
  return reads;
}

void find_repeats(const std::vector<Read>& reads, MemoryPlan& plan) {
  for (std::size_t x = 0; x < reads.size(); ++x) {
    for (std::size_t y = x + 1; y < reads.size() && y < x + 64; ++y) {
      if (reads[x].load || reads[y].load || !same_place(reads[x], reads[y]) || reads[x].mem.disp != reads[y].mem.disp ||
          reads[x].bits != reads[y].bits)
        continue;
      plan.next_same[reads[x].step] = reads[y].step;
      break;
    }
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
  const bool groups = options.scratch >= 16;
  std::vector<Read> reads = collect(trace, analysis, op, groups && options.loads);
  if (reads.empty()) return plan;
  if (options.reuse) find_repeats(reads, plan);
  if (groups) group_broadcasts(std::move(reads), options, plan);
  return plan;
}

}  // namespace fase::core
