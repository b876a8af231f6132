#include "core/region/trace.h"

#include <algorithm>

#include "core/region/beyond.h"
#include "core/region/reader.h"

namespace fase::core {
namespace {

constexpr unsigned kFollowed = 256;  // instructions after an exit among which a way back into the loop is looked for

/// Can run at another address under our bookkeeping.
bool movable(const Insn& insn) {
  if (insn.flow != Flow::plain) return false;
  return !(insn.rip_relative() && (insn.memory.address32 || insn.disp_bytes != 4));
}

bool emulatable(const Insn& insn) { return !insn.memory.address32; }

class Builder {
 public:
  Builder(const Request& request, const Trace* before) : request_(request), reader_(request, before) {}

  Trace build() {
    follow(request_.entry);
    if (!trace_.loop) trim();
    trace_.cut = full_ && !trace_.loop;
    drop_empty_extents();
    if (trace_.loop && request_.op->chunk != 0) look_for_other_ways();
    if (trace_.loop && request_.look_beyond) find_dead_flags(reader_, trace_);
    return std::move(trace_);
  }

 private:
  /// Appends steps from `at` on. Returns at the end of the trace.
  void follow(Address at) {
    trace_.steps.reserve(request_.limits.instructions);  // room that nothing touches costs nothing
    begin_run(at);
    Insn insn;
    while (room() && !visited(at) && reader_.decode_at(at, insn)) {
      if (insn.flow == Flow::jump) {
        if (!take(insn, insn.target)) break;
        if (insn.target <= insn.address) head_ = insn.target;
        at = insn.target;
      } else if (insn.flow == Flow::branch) {
        const bool back = insn.target <= insn.address;
        if (back) {
          if (close_loop(insn)) return;
          if (request_.whole_loops) at = cut_before_loop(insn.target, at);
          break;
        }
        if (!request_.limits.side_exits) break;
        append_exit(insn, insn.condition, insn.target);
        at = insn.next();
      } else {
        if (!append(insn)) break;
        at = insn.next();
      }
      if (at == request_.entry && !trace_.steps.empty()) return finish_loop(at);
    }
    trace_.exit = at;
  }

  /// The first pass through a loop belongs to the loop's own region. Returns where the trace ends.
  Address cut_before_loop(Address head, Address otherwise) {
    auto& steps = trace_.steps;
    const auto first = std::find_if(steps.begin(), steps.end(), [head](const Step& s) { return s.insn.address == head; });
    if (first == steps.end() || first == steps.begin()) return otherwise;
    steps.erase(first, steps.end());
    return head;
  }

  void finish_loop(Address at) {
    trace_.loop = request_.limits.loops;
    trace_.exit = at;
  }

  /// A backward branch: worth following only if it leads back to the entry. Nothing changes if it does not.
  bool close_loop(const Insn& branch) {
    if (!request_.limits.loops) return stop_at(branch.address);
    const std::size_t steps = trace_.steps.size(), runs = trace_.guest.size();
    const std::uint32_t fmas = fmas_;
    const Address run_end = trace_.guest.back().end;
    append_exit(branch, branch.condition ^ 1, branch.next());
    head_ = branch.target;
    begin_run(branch.target);
    Address at = branch.target;
    Insn insn;
    while (at != request_.entry) {
      if (!room() || visited(at) || !reader_.decode_at(at, insn)) break;
      if (insn.flow == Flow::jump) {
        if (!take(insn, insn.target)) break;
        at = insn.target;
        continue;
      }
      if (insn.flow == Flow::branch) {
        if (insn.target <= insn.address || !request_.limits.side_exits) break;
        append_exit(insn, insn.condition, insn.target);
      } else if (!append(insn)) {
        break;
      }
      at = insn.next();
    }
    if (at == request_.entry) {
      finish_loop(at);
      return true;
    }
    trace_.steps.resize(steps);
    trace_.guest.resize(runs);
    trace_.guest.back().end = run_end;
    fmas_ = fmas;
    return stop_at(branch.address);
  }

  bool stop_at(Address at) {
    trace_.exit = at;
    return false;
  }

  bool room() {
    full_ |= trace_.steps.size() >= request_.limits.instructions || fmas_ >= request_.limits.fmas;
    return trace_.steps.size() < request_.limits.instructions && fmas_ <= request_.limits.fmas;
  }

  bool append(const Insn& insn) {
    if (!movable(insn)) return false;
    if (insn.is_site()) {
      if (fmas_ >= request_.limits.fmas || !emulatable(insn)) return false;
      ++fmas_;
    } else if (trace_.steps.empty()) {
      return false;
    }
    Step& step = new_step(insn);
    if (insn.is_site()) classify(step);
    return true;
  }

  Step& new_step(const Insn& insn) {
    Step& step = trace_.steps.emplace_back();
    step.insn = insn;
    trace_.guest.back().end = insn.next();
    return step;
  }

  void classify(Step& step) const {
    const Insn& insn = step.insn;
    if (insn.fma.present) {
      step.kind = StepKind::fma;
      step.treatment = request_.policy->treatment(insn.address, insn.fma.fp64);
      if (insn.fma.fp64 && step.treatment == Treatment::emulate) step.treatment = Treatment::fp64;
      if (step.treatment == Treatment::emulate64 && !request_.op->fp64.active) step.treatment = Treatment::fp64;
    } else {
      step.kind = StepKind::bf16;
      step.treatment = request_.policy->bf16_treatment(insn.address, insn.bf16);
    }
  }

  void append_exit(const Insn& insn, unsigned condition, Address target) {
    Step& step = new_step(insn);
    step.kind = StepKind::exit;
    step.condition = static_cast<std::uint8_t>(condition);
    step.target = target;
  }

  bool take(const Insn& jump, Address target) {
    if (trace_.steps.empty() || trace_.guest.size() > 64) return false;
    trace_.guest.back().end = jump.next();
    begin_run(target);
    return true;
  }

  void look_for_other_ways() {
    for (const Step& s : trace_.steps) trace_.branches |= s.kind == StepKind::exit && comes_back(s.target);
  }

  /// Follows an exit straight on. The loop's head may be reached by falling into it, as from an outer loop.
  bool comes_back(Address at) {
    bool jumped = true;
    Insn insn;
    for (unsigned i = 0; i < kFollowed; ++i) {
      if (visited(at)) return jumped || at != head_;
      if (!reader_.decode_at(at, insn)) return false;
      jumped = insn.flow == Flow::jump;
      if (insn.flow == Flow::branch && visited(insn.target)) return true;
      if (insn.flow == Flow::ret || insn.flow == Flow::indirect_jump || insn.flow == Flow::trap) return false;
      at = jumped ? insn.target : insn.next();
    }
    return false;
  }

  void begin_run(Address at) { trace_.guest.push_back({at, at}); }

  /// `at` is already part of the trace. The current run ends at `at` itself and does not contain it.
  bool visited(Address at) const {
    return std::any_of(trace_.guest.begin(), trace_.guest.end(), [at](const Extent& e) { return e.contains(at); });
  }

  /// Nothing after the last FMA is worth moving.
  void trim() {
    auto& steps = trace_.steps;
    std::size_t n = steps.size();
    while (n > 0 && !steps[n - 1].counted()) --n;
    if (n < steps.size()) trace_.exit = steps[n].insn.address;
    steps.resize(n);
    if (n > 0) cut_extents_after(steps[n - 1].insn);
  }

  void cut_extents_after(const Insn& last) {
    auto& runs = trace_.guest;
    while (!runs.back().contains(last.address)) runs.pop_back();
    runs.back().end = last.next();
  }

  void drop_empty_extents() {
    std::erase_if(trace_.guest, [](const Extent& e) { return e.begin == e.end; });
  }

  const Request& request_;
  Reader reader_;
  Trace trace_;
  std::uint32_t fmas_ = 0;
  bool full_ = false;  // a limit was reached
  Address head_ = 0;   // of the loop
};

}  // namespace

std::uint32_t* Step::count_in(Segment& totals) const {
  if (!counted()) return nullptr;
  if (insn.bf16 == Bf16::conversion) return &totals.conversions;
  if (insn.bf16 == Bf16::dot) return treatment == Treatment::emulate ? &totals.dots_emulated : &totals.dots;
  if (treatment == Treatment::emulate) return &totals.emulated;
  if (treatment == Treatment::emulate64) return &totals.fp64_emulated;
  return treatment == Treatment::fp64 ? &totals.fp64 : &totals.excluded;
}

Trace build_trace(const Request& request, const Trace* before) { return Builder(request, before).build(); }

}  // namespace fase::core
