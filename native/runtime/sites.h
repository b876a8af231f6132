// Every FMA instruction found so far: where it is, what is done to it, and its slot.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "abi/record.h"
#include "core/types.h"
#include "runtime/message.h"

namespace fase::runtime {

using SiteId = std::uint32_t;

/// 32 bytes: there may be a hundred thousand.
struct SiteEntry {
  core::Address at = 0;
  std::uint32_t function = 0;     // number in Functions
  std::uint8_t original[6] = {};  // the bytes under the patch
  std::uint8_t length : 4 = 0;
  bool alive : 1 = false;  // false after its code was dropped; found again, it comes back to life under the same number
  bool patched : 1 = false;
  bool untouchable : 1 = false;  // core could not move it: it runs natively
  bool fp64 : 1 = false;
  core::Bf16 bf16 = core::Bf16::none;

  core::Address slot() const { return slot_ == 0 ? 0 : at + static_cast<core::Address>(std::int64_t{slot_}); }
  core::Address thunk() const { return thunk_ == 0 ? 0 : at + static_cast<core::Address>(std::int64_t{thunk_}); }  // only where a patch has 5 bytes
  void set_slot(core::Address a) { slot_ = distance_to(a); }
  void set_thunk(core::Address a) { thunk_ = distance_to(a); }
  void drop_thunk() { thunk_ = 0; }
  /// What scope=math says of it, whatever the policy.
  abi::Reason scope() const { return static_cast<abi::Reason>(scope_); }
  /// Under the policy that holds.
  abi::Reason reason() const { return static_cast<abi::Reason>(reason_); }
  void set_scope(abi::Reason why) { scope_ = static_cast<std::uint8_t>(why); }
  void set_reason(abi::Reason why) { reason_ = static_cast<std::uint8_t>(why); }

  std::uint8_t patch_size() const { return length >= 6 ? 6 : 5; }
  core::Treatment treatment() const { return treatment_for(reason()); }
  core::Treatment treatment_for(abi::Reason why) const {
    if (fp64) return why == abi::Reason::emulated ? core::Treatment::emulate64 : core::Treatment::fp64;
    if (bf16 != core::Bf16::none && why != abi::Reason::emulated) return core::Treatment::bf16;
    return why == abi::Reason::emulated ? core::Treatment::emulate : core::Treatment::exclude;
  }

 private:
  /// Patches reach their slots and thunks by rel32, so this does too.
  std::int32_t distance_to(core::Address a) const {
    auto distance = static_cast<std::int64_t>(a - at);
    FASE_ASSERT(distance == static_cast<std::int32_t>(distance));
    return static_cast<std::int32_t>(distance);
  }

  std::uint8_t scope_ = 0, reason_ = 0;
  std::int32_t slot_ = 0, thunk_ = 0;  // from `at`; 0: none
};
static_assert(sizeof(SiteEntry) == 32);

class Sites {
 public:
  SiteEntry& operator[](SiteId id) { return blocks_[id / kBlock][id % kBlock]; }
  const SiteEntry& operator[](SiteId id) const { return blocks_[id / kBlock][id % kBlock]; }
  std::size_t size() const { return count_; }
  /// The live or dead site at `a`; null when there never was one.
  SiteEntry* find(core::Address a);
  const SiteEntry* find(core::Address a) const { return const_cast<Sites*>(this)->find(a); }
  SiteEntry& add(core::Address a);
  /// Ids of the sites that start in the page of `a`, ascending by address.
  const std::vector<SiteId>& in_page(core::Address a) const;
  /// Replaces what our patches changed in the copy `out` of memory [at, at+n) by the program's bytes.
  void overlay(core::Address at, std::uint8_t* out, std::size_t n) const;

 private:
  /// In a page's list: the first site at `a` or behind it.
  std::vector<SiteId>::const_iterator first_from(const std::vector<SiteId>& page, core::Address a) const;

  static constexpr std::size_t kBlock = 4096;  // entries

  std::vector<SiteEntry*> blocks_;  // entries never move (a vector of them would be copied as it grows), and only those in use touch memory
  std::size_t count_ = 0;
  std::unordered_map<core::Address, std::vector<SiteId>> by_page_;  // ascending by address; there is no other index: a hash node a site is large
};

}  // namespace fase::runtime
