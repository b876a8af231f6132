#include "runtime/message.h"

#include <cstring>

#include "runtime/system.h"

namespace fase::runtime {

Line& Line::operator<<(std::string_view text) {
  std::size_t n = text.size() < sizeof buffer_ - size_ ? text.size() : sizeof buffer_ - size_;
  std::memcpy(buffer_ + size_, text.data(), n);
  size_ += n;
  return *this;
}

Line& Line::operator<<(std::uint64_t number) {
  char digits[20];
  std::size_t n = sizeof digits;
  do {
    digits[--n] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  return *this << std::string_view(digits + n, sizeof digits - n);
}

Line& Line::hex(std::uint64_t number) {
  char digits[16];
  std::size_t n = sizeof digits;
  do {
    digits[--n] = "0123456789abcdef"[number & 15];
    number >>= 4;
  } while (number != 0);
  return *this << "0x" << std::string_view(digits + n, sizeof digits - n);
}

void say(const Line& line) {
  Line full;
  full << "fase: " << line.view() << "\n";
  sys::write(2, full.view().data(), full.view().size());
}

void die(const Line& line, int status) {
  say(line);
  sys::exit_group(status);
}

}  // namespace fase::runtime
