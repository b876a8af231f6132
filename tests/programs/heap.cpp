// The agent's heap (native/runtime/heap.cpp, linked in) under random requests: every block is aligned, and keeps what was written to it until it is
// freed. argv[1]: the seed. Prints how many pages of the heap's were resident with all blocks alive, and after all were freed.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <new>

namespace {

constexpr int kBlocks = 3000, kRounds = 60000;

struct Slot {
  unsigned char* at;
  size_t size;
  unsigned char fill;
} slots[kBlocks];

uint64_t state;

uint64_t draw() {  // xorshift64*
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 0x2545F4914F6CDD1DU;
}

/// Mostly small; up to what gets a mapping of its own.
size_t draw_size() { return draw() % (size_t{1} << (4 + draw() % 15)); }

void fail(const char* what, int slot) {
  printf("failed %s %d\n", what, slot);
  exit(1);
}

void check(int i) {
  const Slot& s = slots[i];
  for (size_t k = 0; k < s.size; ++k)
    if (s.at[k] != s.fill) fail("contents", i);
}

void take(int i) {
  Slot& s = slots[i];
  s.size = draw_size();
  s.fill = static_cast<unsigned char>(draw());
  s.at = static_cast<unsigned char*>(::operator new(s.size));
  if (reinterpret_cast<uintptr_t>(s.at) % 16 != 0) fail("alignment", i);
  memset(s.at, s.fill, s.size);
}

void drop(int i) {
  check(i);
  ::operator delete(slots[i].at);
  slots[i] = {};
}

long resident() {  // without stdio, whose buffers would count
  char text[128] = {};
  int fd = open("/proc/self/statm", O_RDONLY);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) exit(2);
  close(fd);
  return strtol(strchr(text, ' '), nullptr, 10);
}

}  // namespace

int main(int argc, char** argv) {
  state = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1;
  memset(slots, 0, sizeof slots);
  const long before = resident();
  for (int round = 0; round < kRounds; ++round) {
    const int i = static_cast<int>(draw() % kBlocks);
    if (slots[i].at != nullptr) drop(i);
    else take(i);
  }
  for (int i = 0; i < kBlocks; ++i)
    if (slots[i].at == nullptr) take(i);
  const long full = resident() - before;
  for (int i = 0; i < kBlocks; ++i) drop(i);
  printf("full %ld\nempty %ld\n", full, resident() - before);
  return 0;
}
