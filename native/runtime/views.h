// What core sees of the process, through its three interfaces.
#pragma once
#include "core/scope/scope.h"
#include "runtime/engine.h"

namespace fase::runtime {

/// The program's code without our patches; only memory under watch is read.
class GuestCode final : public core::CodeView {
 public:
  explicit GuestCode(const Engine& engine) : engine_(engine) {}
  std::size_t read(core::Address at, std::uint8_t* out, std::size_t n) const override;

 private:
  const Engine& engine_;
};

class Treatments final : public core::SitePolicy {
 public:
  /// Under the policy of that number, which need not be the one that holds: a region outlives its policy while threads are in it.
  Treatments(const Engine& engine, std::uint32_t policy) : engine_(engine), policy_(policy) {}
  core::Treatment treatment(core::Address site, bool fp64) const override;
  core::Treatment bf16_treatment(core::Address site, core::Bf16 kind) const override;

 private:
  core::Treatment of(const SiteEntry& site) const;
  const Engine& engine_;
  std::uint32_t policy_;
};

class Constants final : public core::ConstantMemory {
 public:
  explicit Constants(Engine& engine) : engine_(engine) {}
  bool is_constant(core::Address a) const override;

 private:
  Engine& engine_;
};

}  // namespace fase::runtime
