#include "core/emit/memory_plan.h"

#include <algorithm>
#include <compare>

#include "core/emit/roles.h"

namespace fase::core {
namespace {

/// A rounded memory operand, and the part of the trace in which equal addresses mean equal bytes.
struct Read {
  std::uint16_t step = 0;
  std::uint16_t epoch = 0;     // changes with every store and every write to the operand's address registers
  std::uint16_t segment = 0;
  std::uint16_t bits = 0;
  Mem mem;
  Format format;
  bool broadcast = false;
  bool load = false;           // a load of its own, not an FMA's operand
};

bool same_place(const Read& x, const Read& y) {
  return x.epoch == y.epoch && x.mem.base == y.mem.base && x.mem.index == y.mem.index && x.mem.scale == y.mem.scale &&
         x.mem.segment == y.mem.segment && x.broadcast == y.broadcast && x.format == y.format;
}

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
      if (reads[x].load || reads[y].load || !same_place(reads[x], reads[y]) || reads[x].mem.disp != reads[y].mem.disp || reads[x].bits != reads[y].bits) continue;
      plan.next_same[reads[x].step] = reads[y].step;
      break;
    }
  }
}

/// Scratch in units of 16 bytes, each busy up to some step.
class ScratchMap {
 public:
  ScratchMap(std::int32_t at, std::uint32_t bytes) : at_(at), busy_until_(bytes / 16, 0) {}

  /// Displacement of `bytes` aligned bytes that are free from `begin` on, taken until `end`; 0: none.
  std::int32_t take(std::uint32_t bytes, std::uint16_t begin, std::uint16_t end) {
    const std::uint32_t units = bytes / 16;
    for (std::uint32_t u = 0; u + units <= busy_until_.size(); u += units) {
      const auto first = busy_until_.begin() + u;
      if (std::any_of(first, first + units, [begin](std::uint16_t until) { return until > begin; })) continue;
      std::fill(first, first + units, end);
      return at_ + static_cast<std::int32_t>(u * 16);
    }
    return 0;
  }

 private:
  std::int32_t at_;
  std::vector<std::uint16_t> busy_until_;
};

/// Reads of one run of neighbouring elements: [first, last) in the sorted order, one displacement apart.
struct Run {
  std::size_t first, last;
  std::uint32_t elements;
};

/// Orders reads so that neighbours in one place stand side by side.
struct Key {
  std::uint64_t place;
  std::uint64_t where;
  std::int64_t disp;
  std::uint16_t step;
  auto operator<=>(const Key&) const = default;
};

Key key(const Read& r) {
  const std::uint64_t place = static_cast<std::uint64_t>(r.segment) << 48 | static_cast<std::uint64_t>(r.epoch) << 32 |
                              static_cast<std::uint64_t>(r.format.exponent_bits) << 8 | r.format.mantissa_bits;
  const std::uint64_t where = static_cast<std::uint64_t>(r.mem.base) << 24 | static_cast<std::uint64_t>(r.mem.index) << 16 |
                              static_cast<std::uint64_t>(r.mem.scale) << 8 | static_cast<std::uint64_t>(r.mem.segment);
  return Key{place, where, r.mem.disp, r.step};
}

class Grouper {
 public:
  Grouper(std::vector<Read> reads, const MemoryOptions& options, MemoryPlan& plan)
      : reads_(std::move(reads)), map_(options.scratch_at, options.scratch), widest_(options.widest / 32), plan_(plan) {}

  void run() {
    std::erase_if(reads_, [](const Read& r) { return !r.broadcast; });
    std::sort(reads_.begin(), reads_.end(), [](const Read& x, const Read& y) { return key(x) < key(y); });
    std::vector<Run> chunks;
    for (std::size_t i = 0; i < reads_.size();) {
      const Run run = run_from(i);
      cut(run, chunks);
      i = run.last;
    }
    // Scratch is given out in the order of execution.
    for (auto& c : chunks) place_later_.push_back({begin_of(c), c});
    std::sort(place_later_.begin(), place_later_.end(), [](const auto& x, const auto& y) { return x.begin < y.begin; });
    for (current_ = 0; current_ < place_later_.size(); ++current_) place(place_later_[current_].chunk);
  }

 private:
  struct Pending {
    std::uint16_t begin;
    Run chunk;
  };

  Run run_from(std::size_t first) const {
    std::size_t i = first + 1;
    std::uint32_t elements = 1;
    for (; i < reads_.size(); ++i) {
      if (!same_place(reads_[first], reads_[i]) || reads_[first].segment != reads_[i].segment) break;
      const std::int64_t d = reads_[i].mem.disp - reads_[i - 1].mem.disp;
      if (d != 0 && d != 4) break;
      elements += d == 4;
    }
    return {first, i, elements};
  }

  /// A run becomes chunks of 16, 8 and 4 elements; what is left stays as it was.
  void cut(const Run& run, std::vector<Run>& chunks) const {
    std::size_t at = run.first;
    std::uint32_t left = run.elements;
    while (left >= 4) {
      const std::uint32_t n = left >= 16 && widest_ >= 16 ? 16 : left >= 8 ? 8 : 4;
      const std::size_t end = advance(at, n, run.last);
      chunks.push_back({at, end, n});
      at = end;
      left -= n;
    }
  }

  std::size_t advance(std::size_t at, std::uint32_t elements, std::size_t limit) const {
    const std::int64_t end = reads_[at].mem.disp + 4 * static_cast<std::int64_t>(elements);
    while (at < limit && reads_[at].mem.disp < end) ++at;
    return at;
  }

  std::uint16_t begin_of(const Run& c) const {
    std::uint16_t begin = kNever;
    for (std::size_t i = c.first; i < c.last; ++i) begin = std::min(begin, reads_[i].step);
    return begin;
  }

  /// Gives a chunk scratch, or halves it when there is none left for so long.
  void place(const Run c) {
    BroadcastGroup g;
    g.first = reads_[c.first].mem;
    g.format = reads_[c.first].format;
    g.bits = static_cast<std::uint16_t>(c.elements * 32);
    g.begin = begin_of(c);
    for (std::size_t i = c.first; i < c.last; ++i) g.end = std::max<std::uint16_t>(g.end, static_cast<std::uint16_t>(reads_[i].step + 1));
    g.scratch = map_.take(c.elements * 4, g.begin, g.end);
    if (g.scratch == 0) return c.elements > 4 ? halve(c) : void();
    const auto index = static_cast<std::uint16_t>(plan_.groups.size());
    plan_.groups.push_back(g);
    for (std::size_t i = c.first; i < c.last; ++i) {
      plan_.group[reads_[i].step] = index;
      plan_.element[reads_[i].step] = static_cast<std::uint16_t>((reads_[i].mem.disp - g.first.disp) / 4);
    }
  }

  void halve(const Run& c) {
    const std::size_t middle = advance(c.first, c.elements / 2, c.last);
    const Run low{c.first, middle, c.elements / 2}, high{middle, c.last, c.elements / 2};
    requeue(low);
    requeue(high);
  }

  /// Keeps the queue in order of execution: what starts later must not take scratch first.
  void requeue(const Run& c) {
    const std::uint16_t begin = begin_of(c);
    const auto it = std::find_if(place_later_.begin() + static_cast<std::ptrdiff_t>(current_ + 1), place_later_.end(),
                                 [begin](const Pending& p) { return p.begin > begin; });
    place_later_.insert(it, {begin, c});
  }

  std::vector<Read> reads_;
  ScratchMap map_;
  std::uint32_t widest_;
  MemoryPlan& plan_;
  std::vector<Pending> place_later_;
  std::size_t current_ = 0;
};

}  // namespace

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
  if (groups) Grouper(std::move(reads), options, plan).run();
  return plan;
}

}  // namespace fase::core
