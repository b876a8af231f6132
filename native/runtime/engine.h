// The engine of one process: first touch, discovery, patches, regions, modes. Every method but the constructor runs under `lock()`.
#pragma once
#include <memory>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/discover/discover.h"
#include "core/region/translate.h"
#include "runtime/arena.h"
#include "runtime/control.h"
#include "runtime/extents.h"
#include "runtime/functions.h"
#include "runtime/lock.h"
#include "runtime/modules.h"
#include "runtime/options.h"
#include "runtime/record.h"
#include "runtime/sites.h"
#include "runtime/watch.h"

namespace fase::runtime {

/// One compiled region. Its marks are not kept: translate() is pure, so a fault inside makes them again.
struct Region {
  SiteId site = 0;
  std::uint32_t mode = 0;
  core::Address code = 0;
  std::uint32_t size = 0;
  std::uint32_t first_segment = 0;
  bool valid = true;  // false once guest code it was made from has changed
  std::vector<core::Extent> guest;
  std::vector<std::uint8_t> guest_bytes;  // of `guest`, one after the other: the code may come back (dlclose, dlopen)
  std::uint64_t treatments = 0;           // digest of which FMAs are emulated
};

/// Code is not read further than this before it goes back to the kernel, which maps as much for every single page.
inline constexpr std::size_t kReadAtOnce = 16 * sys::kPage;

/// A region's code with its marks.
struct Located {
  std::uint32_t region = 0;
  core::Translation translation;
};

/// What a fault in emitted code means for the guest.
struct GuestPoint {
  core::GuestState state;
  std::uint32_t mode = 0, dot_mode = 0;  // in the record
};

class Engine {
 public:
  Engine(Options options, Record& record, Control& control, core::Machine machine);

  Lock& lock() { return lock_; }
  Record& record() { return record_; }
  Control& control() { return control_; }
  const core::Machine& machine() const { return machine_; }
  const std::string& directory() const { return options_.directory; }

  // --- modules and mappings ---
  /// Takes in what the dynamic linker loaded or unloaded since the last call.
  void refresh_modules(std::span<const LoadedModule> now);
  /// Takes in executable memory in no file (JIT code) that was there before us. Needed when the agent joins a running program.
  void adopt_mappings();
  /// The program asked for an executable mapping that now exists; it is armed.
  void watch(core::Extent extent, int protection);
  /// The mapping is about to change or go: undoes patches (when `restore`) and forgets.
  void unwatch(core::Extent extent, bool restore);
  /// What the program believes the protection of the first watched byte of `extent` to be; 0 when nothing there is watched.
  int protection_of(core::Extent extent) const;

  // --- faults ---
  /// The program fetched an instruction at `a`, which is not executable. True when it may be retried.
  bool fetch_fault(core::Address a, core::Address rip);
  /// The program wrote at `a`. True when the write may be retried.
  bool write_fault(core::Address a);
  bool in_lazy_window(core::Address a) const { return lazy_.contains(a); }
  /// First execution of a site under the current mode: the address of its compiled region.
  core::Address enter(core::Address lazy);
  /// Takes no lock.
  bool in_emitted_code(core::Address a) const { return arenas_.contains(a); }
  Arenas& arenas() { return arenas_; }
  /// Guest's view of an address in emitted code; false when nothing is known of it.
  bool locate(core::Address a, GuestPoint& out);

  // --- modes ---
  void set_mode(std::string_view name, const core::Operator& op);
  /// Another policy holds from now on, and the mode with it. Threads that are inside a region finish it as it was compiled, and count so.
  void set_policy(const Policy& policy, std::string_view name, const core::Operator& op);
  /// Takes over the mode that the control file asks for, if that is news. Every way into the engine comes by here.
  void follow_control() {
    if (control_.pending()) obey();
  }
  /// Gives the program its own code back; nothing is watched until resume().
  void stop();
  /// Watches the program again.
  void resume(std::span<const LoadedModule> now);
  void after_fork_in_child();
  bool stopped() const { return stopped_; }
  const Policy& policy() const { return policies_[policy_].said; }
  /// The operator is the first for double precision: nobody has looked at where those FMAs are. It takes a stop() before, and a resume().
  bool must_look_again(const core::Operator& op) const { return op.fp64.active && !fp64_; }

 private:
  struct Mode {
    std::string name;
    core::Operator op;
    std::uint32_t policy = 0;                           // it was compiled under
    std::uint32_t index = 0;                            // in the record
    std::uint32_t stream = 0;                           // stochastic rounding: see stream_of()
    std::unordered_map<SiteId, std::uint32_t> regions;  // numbers of the last that were compiled
  };

  struct KnownPolicy {
    Policy said;
    std::vector<std::uint32_t> rule_modes;  // of its operator rules: number of the mode, kNoRule for those that follow the run's
    std::uint32_t dot_index = 0;            // in the record: the mode that VDPBF16PS has of its own
  };

  void obey();
  std::uint32_t mode_number(std::uint32_t policy, std::string_view name, const core::Operator& op);
  std::uint32_t policy_number(const Policy& policy);
  void choose_mode(std::uint32_t number);
  void point_slots();
  void recount(SiteEntry& site, abi::Reason reason);

  // discovery (discovery.cpp)
  void discover_page(const Range& range, core::Address page, core::Address rip);
  bool has_unknown_patterns(core::Address page) const;
  void discover_in_module(Module& module, core::Address page, core::Address rip);
  void release_read(core::Extent read) const;
  void discover_loose(core::Address rip, core::Extent bounds, core::Extent pages, Module* module);
  void admit(const core::Discovery& found, std::uint32_t function, Module* module);
  static bool emulates(core::Bf16 kind, const Policy& policy) { return kind == core::Bf16::dot && policy.dots != Policy::Dots::native; }
  std::uint32_t add_function(core::Extent extent, std::string_view name, const Module& module);
  Verdict judge(std::uint32_t function, std::uint32_t policy) const;
  abi::Reason reason_under(const SiteEntry& site, std::uint32_t policy) const;
  abi::Reason reason_of(const SiteEntry& site, const Verdict& verdict, const Policy& policy) const;

  // patches (patches.cpp)
  void open_pages(Range& range, core::Address first_page, const std::vector<bool>& ready, core::Address touched);
  /// Patches what is to be patched in a page; where there is anything, the page is left writable.
  void patch_page(core::Address page);
  void apply_patch(SiteId id);
  void undo_patch(SiteEntry& site);
  void give_slot(SiteId id);
  void make_writable(core::Address page);
  void settle(core::Address page);
  void arm(core::Extent extent, int protection);
  bool is_patched(core::Address page) const;
  void drop_page(core::Address page, bool restore);
  void leave_native(SiteEntry& site);

  // regions (regions.cpp)
  std::uint32_t mode_of(const SiteEntry& site) const;
  std::uint32_t dot_index(const Mode& mode) const {
    const KnownPolicy& known = policies_[mode.policy];
    return known.said.dots == Policy::Dots::own ? known.dot_index : mode.index;
  }
  const Region* compile(SiteId id);
  core::Translation translate_into(SiteId id, const Mode& mode, core::Address at, std::span<std::uint8_t> out, std::uint32_t first_segment,
                                   bool marks) const;
  bool still_true(const Region& region) const;
  std::uint64_t treatments_in(const std::vector<core::Extent>& guest) const;
  bool locate_thunk(core::Address a, GuestPoint& out) const;
  const core::Translation* translation_of(std::uint32_t region_index);
  void remember(Region region);
  void depend(std::uint32_t region_index);
  void set_slot(const SiteEntry& site, core::Address target) const;
  void reset_slot(SiteId id) const;
  core::Extent neighbourhood(core::Address a) const;
  core::Extent code_bounds(core::Address a) const;

  friend class GuestCode;
  friend class Treatments;
  friend class Constants;

  Options options_;
  Record& record_;
  Control& control_;
  Lock lock_;
  core::Machine machine_;
  core::Scratch scratch_;
  Watch watch_;
  Modules modules_;
  Sites sites_;
  Arenas arenas_;
  core::Extent lazy_;
  std::vector<Mode> modes_;
  std::vector<KnownPolicy> policies_;  // those that held so far; regions compiled under one are used again when it comes back
  std::uint32_t policy_ = 0;
  Functions functions_;
  std::uint32_t mode_ = 0;
  bool stopped_ = false;
  bool fp64_ = false;            // double-precision FMAs are told apart by scope and policy, as the others are
  bool faults_blocked_ = false;  // in some thread of the program: it must not fault
  std::vector<Region> regions_;
  std::vector<std::uint32_t> by_code_;                                       // regions, ascending by code address
  std::vector<Located> located_;                                             // regions that signals interrupted lately, the last one in front
  std::unordered_map<core::Address, std::vector<std::uint32_t>> depending_;  // guest page -> regions made from it
  std::unordered_set<core::Address> analysed_;                               // functions (by start) whose sites are known
  std::unordered_set<core::Address> unconfirmed_;
  ExtentSet swept_;  // JIT code whose sites are known
};

/// Time spent in the engine, added to the record on destruction.
class Stopwatch {
 public:
  explicit Stopwatch(Record& record) : record_(record), start_(sys::nanoseconds(CLOCK_MONOTONIC)) {}
  ~Stopwatch() { record_.header().translate_ns += sys::nanoseconds(CLOCK_MONOTONIC) - start_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  Record& record_;
  std::uint64_t start_;
};

}  // namespace fase::runtime
