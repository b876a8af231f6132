// Lines on stderr, and the end of the process when an invariant is broken: a wrong patch must stop the program, never miscompute.
#pragma once
#include <cstdint>
#include <string_view>

namespace fase::runtime {

/// One line, built in a fixed buffer (no heap), cut when too long.
class Line {
 public:
  Line& operator<<(std::string_view text);
  Line& operator<<(std::uint64_t number);
  Line& hex(std::uint64_t number);
  std::string_view view() const { return {buffer_, size_}; }

 private:
  char buffer_[512];
  std::size_t size_ = 0;
};

/// "fase: ..." on stderr.
void say(const Line& line);

/// Exit status of a program that the agent had to stop.
inline constexpr int kAgentFailure = 70;  // EX_SOFTWARE
inline constexpr int kAgentRefused = 3;   // bad options, record directory not writable...

[[noreturn]] void die(const Line& line, int status = kAgentFailure);

#define FASE_ASSERT(condition)                                                                                                             \
  do {                                                                                                                                     \
    if (!(condition)) ::fase::runtime::die(::fase::runtime::Line() << "internal error: " #condition " (" __FILE__ ":" << __LINE__ << ")"); \
  } while (0)

}  // namespace fase::runtime
