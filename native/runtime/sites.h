// Every FMA instruction found so far: where it is, what is done to it, and its slot.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "abi/record.h"
#include "core/types.h"

namespace fase::runtime {

using SiteId = std::uint32_t;

struct SiteEntry {
  core::Address at = 0;
  std::uint8_t length = 0;
  bool fp64 = false;
  core::Bf16 bf16 = core::Bf16::none;
  bool alive = false;  // false after its code was dropped; found again, it comes back to life under the same number
  bool patched = false;
  bool untouchable = false;                    // core could not move it: it runs natively
  std::uint8_t original[6] = {};               // the bytes under the patch
  abi::Reason scope = abi::Reason::emulated;   // what scope=math says of it, whatever the policy
  abi::Reason reason = abi::Reason::emulated;  // under the policy that holds
  std::uint32_t function = 0;                  // number in Functions
  core::Address slot = 0;
  core::Address thunk = 0;  // 0 for instructions of 6 bytes and more

  std::uint8_t patch_size() const { return length >= 6 ? 6 : 5; }
  core::Treatment treatment() const { return treatment_for(reason); }
  core::Treatment treatment_for(abi::Reason why) const {
    if (fp64) return why == abi::Reason::emulated ? core::Treatment::emulate64 : core::Treatment::fp64;
    if (bf16 != core::Bf16::none && why != abi::Reason::emulated) return core::Treatment::bf16;
    return why == abi::Reason::emulated ? core::Treatment::emulate : core::Treatment::exclude;
  }
};

class Sites {
 public:
  SiteEntry& operator[](SiteId id) { return sites_[id]; }
  const SiteEntry& operator[](SiteId id) const { return sites_[id]; }
  std::size_t size() const { return sites_.size(); }
  /// The live or dead site at `a`; null when there never was one.
  SiteEntry* find(core::Address a);
  const SiteEntry* find(core::Address a) const { return const_cast<Sites*>(this)->find(a); }
  SiteId id_of(const SiteEntry& site) const { return static_cast<SiteId>(&site - sites_.data()); }
  SiteEntry& add(core::Address a);
  /// Ids of the sites that start in the page of `a`, ascending by address.
  const std::vector<SiteId>& in_page(core::Address a) const;
  /// Replaces what our patches changed in the copy `out` of memory [at, at+n) by the program's bytes.
  void overlay(core::Address at, std::uint8_t* out, std::size_t n) const;

 private:
  /// In a page's list: the first site at `a` or behind it.
  std::vector<SiteId>::const_iterator first_from(const std::vector<SiteId>& page, core::Address a) const;

  std::vector<SiteEntry> sites_;
  std::unordered_map<core::Address, std::vector<SiteId>> by_page_;  // ascending by address; there is no other index: a hash node a site is large
};

}  // namespace fase::runtime
