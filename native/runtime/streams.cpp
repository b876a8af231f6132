#include "runtime/streams.h"

#include <cstring>

#include "runtime/message.h"

namespace fase::runtime {
namespace {

std::uint32_t numbered;
std::uint32_t seeds[kMostSeeds], seed_count;

struct Owner {
  Streams* streams = nullptr;  // null: block not in use
  std::uint32_t thread = 0;
};
Owner owners[abi::kMaxBlocks];

void start(const Owner& owner, std::uint32_t seed) { (*owner.streams)[seed] = core::random_stream(seeds[seed], owner.thread); }

}  // namespace

std::uint32_t next_thread_number() { return numbered++; }

void give_streams(std::uint32_t block, Streams& streams, std::uint32_t thread) {
  owners[block] = {&streams, thread};
  for (std::uint32_t s = 0; s < seed_count; ++s) start(owners[block], s);
}

void move_streams(std::uint32_t block, Streams& streams, const Streams& from) {
  std::uint32_t thread = 0;
  for (const Owner& owner : owners) {
    if (owner.streams == &from) thread = owner.thread;
  }
  for (Owner& owner : owners) owner = Owner{};
  owners[block] = {&streams, thread};
  if (&streams != &from) std::memcpy(&streams, &from, sizeof(core::RandomStream) * seed_count);
}

std::uint32_t stream_of(std::uint32_t seed) {
  std::uint32_t index = 0;
  while (index < seed_count && seeds[index] != seed) ++index;
  if (index == seed_count) {
    if (seed_count == kMostSeeds) die(Line() << "more than " << kMostSeeds << " seeds of stochastic rounding in one process");
    seeds[seed_count++] = seed;
    for (const Owner& owner : owners) {
      if (owner.streams != nullptr) start(owner, index);
    }
  }
  return index * static_cast<std::uint32_t>(sizeof(core::RandomStream));
}

void restart_streams() {
  for (const Owner& owner : owners) {
    for (std::uint32_t s = 0; owner.streams != nullptr && s < seed_count; ++s) start(owner, s);
  }
}

}  // namespace fase::runtime
