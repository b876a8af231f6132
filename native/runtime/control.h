// The run's control file (native/abi/control.h): what mode someone outside has asked for.
#pragma once
#include <atomic>
#include <string>

#include "abi/control.h"

namespace fase::runtime {

class Control {
 public:
  struct Request {
    std::uint32_t sequence = 0;
    std::string mode;
    std::string operator_text;
  };

  /// Maps the file in `directory`; without one nothing is ever asked for. Returns an empty string or what is wrong.
  std::string open(const std::string& directory);
  /// Something has been asked for that was not taken yet. One load: for places that many threads pass.
  bool pending() const { return sequence() != taken_.load(std::memory_order_relaxed); }
  /// The request, which counts as taken; false when there is none, or it is only half written.
  bool take(Request& out);

  bool keeps_thread() const { return file_ != nullptr && (file_->options & abi::kKeepThread) != 0; }
  /// Sleeps while nothing changes. For the thread that waits.
  void wait() const;

 private:
  std::uint32_t sequence() const;
  abi::ControlFile* file_ = nullptr;
  std::atomic<std::uint32_t> taken_{0};
};

}  // namespace fase::runtime
