// Every FMA instruction found so far: where it is, what is done to it, and its slot.
#pragma once
#include <cstdint>
#include <iterator>
#include <span>
#include <unordered_map>
#include <vector>

#include "abi/record.h"
#include "core/types.h"
#include "runtime/arena.h"
#include "runtime/message.h"

namespace fase::runtime {

using SiteId = std::uint32_t;

/// 24 bytes: there may be a hundred thousand.
struct SiteEntry {
  core::Address at : 48 = 0;
  std::uint64_t length : 4 = 0;
  std::uint64_t alive : 1 = false;  // false after its code was dropped; found again, it comes back to life under the same number
  std::uint64_t patched : 1 = false;
  std::uint64_t untouchable : 1 = false;  // core could not move it: it runs natively
  std::uint64_t fp64 : 1 = false;
  std::uint64_t has_thunk : 1 = false;
  std::uint32_t function = 0;     // number in Functions
  std::uint8_t original[6] = {};  // the bytes under the patch
  core::Bf16 bf16 : 2 = core::Bf16::none;

  core::Address slot() const { return slot_ == 0 ? 0 : at + static_cast<core::Address>(std::int64_t{slot_}); }
  core::Address thunk() const { return has_thunk ? Arena::thunk_of(slot()) : 0; }  // only where a patch has 5 bytes
  void set_slot(core::Address a) { slot_ = distance_to(a); }
  /// What scope=math says of it, whatever the policy.
  abi::Reason scope() const { return static_cast<abi::Reason>(scope_); }
  /// Under the policy that holds.
  abi::Reason reason() const { return static_cast<abi::Reason>(reason_); }
  void set_scope(abi::Reason why) { scope_ = static_cast<std::uint8_t>(why) & 15; }
  void set_reason(abi::Reason why) { reason_ = static_cast<std::uint8_t>(why) & 15; }

  std::uint8_t patch_size() const { return length >= 6 ? 6 : 5; }
  core::Treatment treatment() const { return treatment_for(reason()); }
  core::Treatment treatment_for(abi::Reason why) const {
    if (fp64) return why == abi::Reason::emulated ? core::Treatment::emulate64 : core::Treatment::fp64;
    if (bf16 != core::Bf16::none && why != abi::Reason::emulated) return core::Treatment::bf16;
    return why == abi::Reason::emulated ? core::Treatment::emulate : core::Treatment::exclude;
  }

 private:
  /// Patches reach their slots by rel32, so this does too.
  std::int32_t distance_to(core::Address a) const {
    auto distance = static_cast<std::int64_t>(a - at);
    FASE_ASSERT(distance == static_cast<std::int32_t>(distance));
    return static_cast<std::int32_t>(distance);
  }

  std::uint8_t scope_ : 4 = 0, reason_ : 4 = 0;
  std::int32_t slot_ = 0;  // from `at`; 0: none
};
static_assert(sizeof(SiteEntry) == 24 && static_cast<int>(abi::Reason::count) <= 16);

/// Ids of the sites that start in one page, ascending by address: runs of consecutive ids, since sites are numbered as discovery finds them.
class PageSites {
 public:
  struct Run {
    SiteId first, end;
  };
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = SiteId;
    using difference_type = std::ptrdiff_t;
    using pointer = const SiteId*;
    using reference = const SiteId&;

    Iterator() = default;
    /// `id` in `run`, which may be one past the last.
    Iterator(const Run* run, const Run* end, SiteId id) : run_(run), end_(end), id_(id) {}
    Iterator(const Run* run, const Run* end) : Iterator(run, end, run == end ? 0 : run->first) {}
    const SiteId& operator*() const { return id_; }
    Iterator& operator++() {
      if (++id_ == run_->end) *this = Iterator(run_ + 1, end_);
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& o) const { return run_ == o.run_ && id_ == o.id_; }
    const Run* run() const { return run_; }

   private:
    const Run *run_ = nullptr, *end_ = nullptr;
    SiteId id_ = 0;
  };

  PageSites() = default;
  explicit PageSites(const std::vector<Run>& runs) : begin_(runs.data()), end_(runs.data() + runs.size()) {}
  Iterator begin() const { return {begin_, end_}; }
  Iterator end() const { return {end_, end_}; }
  bool empty() const { return begin_ == end_; }
  std::span<const Run> runs() const { return {begin_, end_}; }

 private:
  const Run *begin_ = nullptr, *end_ = nullptr;
};

class Sites {
 public:
  SiteEntry& operator[](SiteId id) { return blocks_[id / kBlock][id % kBlock]; }
  const SiteEntry& operator[](SiteId id) const { return blocks_[id / kBlock][id % kBlock]; }
  std::size_t size() const { return count_; }
  /// The live or dead site at `a`; null when there never was one.
  SiteEntry* find(core::Address a);
  const SiteEntry* find(core::Address a) const { return const_cast<Sites*>(this)->find(a); }
  /// Sites of one page, ascending. They get numbers, and the bytes under their patches are looked at, when somebody asks for the page or for one of
  /// them: functions have many sites on pages that the program never comes to.
  void expect(core::Address page, std::span<const SiteEntry> sites);
  /// Those that are expected on this page no longer are.
  void forget(core::Address page) { expected_.erase(page); }
  /// All that are expected get their numbers.
  void meet_all();
  /// The sites that start in the page of `a`; good until the next call.
  PageSites in_page(core::Address a);
  PageSites in_page(core::Address a) const { return const_cast<Sites*>(this)->in_page(a); }
  /// Those of them that somebody has asked for: all that can be patched.
  PageSites met_in_page(core::Address a) const;
  /// Replaces what our patches changed in the copy `out` of memory [at, at+n) by the program's bytes.
  void overlay(core::Address at, std::uint8_t* out, std::size_t n) const;

 private:
  /// What is kept of a site until somebody asks for it.
  struct Expected {
    std::uint32_t offset : 12;  // in the page
    std::uint32_t length : 4;
    std::uint32_t fp64 : 1;
    std::uint32_t bf16 : 2;
    std::uint32_t scope : 4;
    std::uint32_t reason : 4;
  };
  struct Group {
    std::uint32_t function;
    std::vector<Expected> sites;
  };
  void meet(core::Address page);
  SiteEntry& add(core::Address a);
  SiteEntry* met(core::Address a);
  /// The first site of a page at `a` or behind it.
  PageSites::Iterator first_from(const PageSites& page, core::Address a) const;

  static constexpr std::size_t kBlock = 1024;  // entries

  std::vector<SiteEntry*> blocks_;  // entries never move (a vector of them would be copied as it grows), and only those in use touch memory
  std::size_t count_ = 0;
  SiteId next_ = 0;  // behind the one found last: code is gone through in the order in which its sites were numbered
  std::unordered_map<core::Address, std::vector<Group>> expected_;          // by page
  std::unordered_map<core::Address, std::vector<PageSites::Run>> by_page_;  // there is no other index: a hash node a site is large
};

}  // namespace fase::runtime
