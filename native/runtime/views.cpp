#include "runtime/views.h"

#include <algorithm>
#include <cstring>

namespace fase::runtime {

std::size_t GuestCode::read(core::Address at, std::uint8_t* out, std::size_t n) const {
  const Range* range = engine_.watch_.find(at);
  if (range == nullptr) return 0;
  std::size_t readable = range->extent.end - at;
  if (n > readable) n = readable;
  for (std::size_t done = 0; done < n;) {
    const std::size_t part = std::min(n - done, kReadAtOnce);
    std::memcpy(out + done, reinterpret_cast<const void*>(at + done), part);
    if (n > kReadAtOnce) engine_.release_read({at + done, at + done + part});
    done += part;
  }
  engine_.sites_.overlay(at, out, n);
  return n;
}

core::Treatment Treatments::of(const SiteEntry& site) const {
  return policy_ == engine_.policy_ ? site.treatment() : site.treatment_for(engine_.reason_under(site, policy_));
}

core::Treatment Treatments::treatment(core::Address site, bool fp64) const {
  if (const SiteEntry* known = engine_.sites_.find(site); known != nullptr && known->alive) return of(*known);
  // Code that a region runs into before its page was touched; whoever touches the page later finds the same answer by discovery, but the
  // region is compiled now. Leaving it out of the region is not core's business: an unknown FMA is emulated, as an FMA in scope is.
  if (fp64) return engine_.fp64_ ? core::Treatment::emulate64 : core::Treatment::fp64;
  return core::Treatment::emulate;
}

core::Treatment Treatments::bf16_treatment(core::Address site, core::Bf16 kind) const {
  if (const SiteEntry* known = engine_.sites_.find(site); known != nullptr && known->alive) return of(*known);
  return Engine::emulates(kind, engine_.policies_[policy_].said) ? core::Treatment::emulate : core::Treatment::bf16;
}

bool Constants::is_constant(core::Address a) const {
  if (Module* module = engine_.modules_.at(a)) {
    const Segment* segment = module->segment_at(a);
    return segment != nullptr && !segment->writable;
  }
  return true;  // tables of JIT code: asked only for addresses that code names directly
}

}  // namespace fase::runtime
