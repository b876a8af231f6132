#include "runtime/control.h"

#include <sys/stat.h>

#include <cstring>
#include <string_view>

#include "runtime/system.h"

namespace fase::runtime {

std::string Control::open(const std::string& directory) {
  std::string path = directory + "/" + abi::kControlName;
  int fd = static_cast<int>(sys::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd < 0) return {};
  struct stat status {};
  sys::call(SYS_fstat, fd, reinterpret_cast<long>(&status));
  bool whole = status.st_size >= static_cast<long>(sizeof(abi::ControlFile));
  long p = whole ? sys::map_far(sizeof(abi::ControlFile), PROT_READ, MAP_SHARED, fd) : -1;
  sys::close(fd);
  if (sys::failed(p) || std::memcmp(reinterpret_cast<const char*>(p), abi::kControlMagic, sizeof abi::kControlMagic) != 0) {
    return path + " is not a control file of this version";
  }
  file_ = reinterpret_cast<abi::ControlFile*>(p);
  return {};
}

std::uint32_t Control::sequence() const {
  return file_ != nullptr ? std::atomic_ref<std::uint32_t>(file_->sequence).load(std::memory_order_acquire) : 0;
}

bool Control::take(Request& out) {
  std::uint32_t now = sequence();
  if ((now & 1) != 0 || !pending()) return false;
  abi::ControlFile copy;
  std::memcpy(&copy, file_, sizeof copy);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (sequence() != now) return false;
  out.sequence = now;
  out.mode = std::string_view(copy.mode, strnlen(copy.mode, sizeof copy.mode));
  out.operator_text = std::string_view(copy.operator_text, strnlen(copy.operator_text, sizeof copy.operator_text));
  taken_.store(now, std::memory_order_relaxed);
  return true;
}

void Control::wait() const {
  std::uint32_t now = sequence();
  if ((now & 1) == 0 && pending()) return;
  sys::call(SYS_futex, reinterpret_cast<long>(&file_->sequence), FUTEX_WAIT, static_cast<long>(now));
}

}  // namespace fase::runtime
