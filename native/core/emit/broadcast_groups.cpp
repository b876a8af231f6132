#include "core/emit/broadcast_groups.h"

#include <algorithm>
#include <compare>
#include <numeric>

namespace fase::core {
namespace {

constexpr int kSavedByMember = 5;  // instructions: the rounding of one operand
constexpr int kCostOfGroup = 7;    // load, rounding, store
constexpr int kLead = 64;          // steps that a group is stored ahead of its first reader, where it can be
constexpr int kGap = 16;           // bytes that nobody reads, at most, between neighbours: some kernels take every other pair of a panel's columns

/// Orders reads so that neighbours in one place stand side by side. (Two formats that look alike here only make the runs shorter.)
struct Key {
  std::uint64_t place;
  std::uint64_t where;
  std::int64_t disp;
  std::uint16_t step;
  auto operator<=>(const Key&) const = default;
};

Key key(const Read& r) {
  const std::uint64_t place = static_cast<std::uint64_t>(r.segment) << 48 | static_cast<std::uint64_t>(r.epoch) << 32 |
                              static_cast<std::uint64_t>(static_cast<std::uint8_t>(r.format.min_exponent)) << 8 | r.format.mantissa_bits;
  const std::uint64_t where = static_cast<std::uint64_t>(r.mem.base) << 24 | static_cast<std::uint64_t>(r.mem.index) << 16 |
                              static_cast<std::uint64_t>(r.mem.scale) << 8 | static_cast<std::uint64_t>(r.mem.segment);
  return Key{place, where, r.mem.disp, r.step};
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

/// Neighbouring elements that become one vector, and the reads (in sorted order) that it serves.
struct Chunk {
  std::size_t first, last;  // reads
  std::int64_t disp;        // of the lowest element
  std::uint32_t elements;
  std::uint16_t begin, end;  // steps
  std::uint16_t earliest;    // where nothing stands between it and its first reader
};

/// One way of cutting up the reads: vectors of at most so many elements.
class Cut {
 public:
  Cut(const std::vector<Read>& reads, const MemoryOptions& options, std::uint32_t widest)
      : reads_(reads), widest_(widest), scratch_at_(options.scratch_at) {
    for (std::size_t i = 0; i < reads.size();) i = cut_run(i);
    place(options);
  }

  int saved() const { return saved_; }
  bool all_placed() const { return all_placed_; }

  /// Groups in the order in which they are loaded.
  void write(MemoryPlan& plan) const {
    std::vector<std::size_t> order(chunks_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [this](std::size_t x, std::size_t y) { return chunks_[x].begin < chunks_[y].begin; });
    for (const std::size_t c : order) {
      const Chunk& k = chunks_[c];
      if (scratch_[c] == 0) continue;
      const auto index = static_cast<std::uint16_t>(plan.groups.size());
      Mem first = reads_[k.first].mem;
      first.disp = k.disp;
      plan.scratch_used =
          std::max(plan.scratch_used, static_cast<std::uint32_t>(scratch_[c] - scratch_at_) + 4 * k.elements * reads_[k.first].format.literals);
      plan.groups.push_back({first, reads_[k.first].format, static_cast<std::uint16_t>(k.elements * 32), scratch_[c], k.begin, k.end});
      for (std::size_t i = k.first; i < k.last; ++i) {
        plan.group[reads_[i].step] = index;
        plan.element[reads_[i].step] = static_cast<std::uint16_t>((reads_[i].mem.disp - k.disp) / 4);
        plan.kept[reads_[i].step] = reads_[i].kept;
      }
    }
  }

 private:
  /// Cuts the run of neighbours that starts at read `first`; returns where the next begins. The last chunk may overlap the one before: what it
  /// reads is read by the region anyway.
  std::size_t cut_run(std::size_t first) {
    std::size_t last = first + 1;
    const std::int64_t start = reads_[first].mem.disp;
    std::int64_t end = reads_[first].end();
    for (; last < reads_.size(); ++last) {
      const Read& next = reads_[last];
      if (!same_place(reads_[first], next) || reads_[first].segment != next.segment || next.mem.disp > end + kGap || (next.mem.disp - start) % 4 != 0)
        break;
      end = std::max(end, next.end());
    }
    std::int64_t at = start;
    for (std::size_t i = first; end - at >= 8 && end - start >= 16;) {
      const auto n = static_cast<std::int64_t>(size_for((end - at) / 4, (end - start) / 4));
      const std::int64_t base = std::min(at, end - 4 * n);
      at = base + 4 * n;
      std::size_t stop = i;
      while (stop < last && reads_[stop].end() <= at) ++stop;
      if (stop > i + 1) add(i, stop, base, static_cast<std::uint32_t>(n));
      if (stop == last) break;
      at = reads_[stop].mem.disp;  // two elements of which this vector holds one begin the next
      i = stop;
    }
    return last;
  }

  /// Elements of the next vector: as wide as the run allows, no wider than what is left needs.
  std::uint32_t size_for(std::int64_t left, std::int64_t whole) const {
    std::uint32_t n = 4;
    while (n < widest_ && n < left && 2 * n <= static_cast<std::uint64_t>(whole)) n *= 2;
    return n;
  }

  void add(std::size_t first, std::size_t last, std::int64_t disp, std::uint32_t elements) {
    Chunk c{first, last, disp, elements, kNever, 0, std::max(reads_[first].epoch, reads_[first].segment_first)};
    for (std::size_t i = first; i < last; ++i) {
      c.begin = std::min(c.begin, reads_[i].step);
      c.end = std::max(c.end, static_cast<std::uint16_t>(reads_[i].step + 1));
    }
    chunks_.push_back(c);
  }

  /// Scratch is given out in the order of execution; a chunk that finds none stays as it was.
  void place(const MemoryOptions& options) {
    std::sort(chunks_.begin(), chunks_.end(), [](const Chunk& x, const Chunk& y) { return x.begin < y.begin; });
    ScratchMap map(options.scratch_at, options.scratch);
    for (Chunk& c : chunks_) {
      const auto ahead = static_cast<std::uint16_t>(std::max<int>(c.earliest, c.begin - kLead));
      const std::uint32_t bytes = c.elements * 4 * reads_[c.first].format.literals;
      scratch_.push_back(map.take(bytes, ahead, c.end));
      if (scratch_.back() != 0) c.begin = ahead;
      else scratch_.back() = map.take(bytes, c.begin, c.end);
      if (scratch_.back() != 0) saved_ += kSavedByMember * static_cast<int>(c.last - c.first) - kCostOfGroup;
      all_placed_ &= scratch_.back() != 0;
    }
  }

  const std::vector<Read>& reads_;
  std::uint32_t widest_;
  std::int32_t scratch_at_;
  std::vector<Chunk> chunks_;
  std::vector<std::int32_t> scratch_;
  int saved_ = 0;
  bool all_placed_ = true;
};

}  // namespace

void group_broadcasts(std::vector<Read> reads, const MemoryOptions& options, MemoryPlan& plan) {
  std::erase_if(reads, [](const Read& r) { return !r.broadcast; });
  if (reads.size() < 4) return;
  std::sort(reads.begin(), reads.end(), [](const Read& x, const Read& y) { return key(x) < key(y); });
  // Wide vectors save most, but where many rows are in flight at once only narrow ones find scratch for all.
  const std::uint32_t widest = options.widest / 32;
  std::vector<Cut> cuts;
  cuts.reserve(3);
  for (std::uint32_t n = widest; n >= 4; n /= 2) {
    cuts.emplace_back(reads, options, n);
    if (cuts.back().all_placed()) break;
  }
  std::max_element(cuts.begin(), cuts.end(), [](const Cut& x, const Cut& y) { return x.saved() < y.saved(); })->write(plan);
}

}  // namespace fase::core
