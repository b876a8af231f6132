// The agent's own heap: operator new and delete of this library alone (hidden visibility). The program's malloc may hold its lock, or be under
// translation, when a fault arrives. Blocks lie side by side in chunks from the kernel. One that is freed joins its free neighbours: what one
// translation leaves behind serves the next, whatever sizes that asks for. The engine's lock guards it.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {
namespace {

constexpr std::uint32_t kChunk = std::uint32_t{1} << 20;
constexpr std::size_t kLargest = std::size_t{256} << 10;  // block of a chunk; larger ones are mappings of their own
constexpr std::uint32_t kQuantum = 16;                    // sizes are multiples of it
constexpr std::uint32_t kLoose = 2 * sys::kPage;          // smaller free blocks are not looked at when memory goes back to the kernel

/// Before every block, eight bytes off the quantum, so that what the caller gets is aligned.
struct Header {
  std::uint32_t size : 29;  // of the block with its header; of a mapping: pages
  std::uint32_t used : 1;
  std::uint32_t last : 1;  // of its chunk
  std::uint32_t mapped : 1;
  std::uint32_t before;  // size of the block before; 0: the first of its chunk
};
static_assert(sizeof(Header) == 8);

/// While it is free, in a list.
struct Block : Header {
  Block *next, *previous;
  std::uint32_t dirty_begin, dirty_end;  // offsets: outside, the kernel has not given memory yet or has it back

  std::uint32_t dirty() const { return size < kLoose ? 0 : dirty_end - dirty_begin; }
};
constexpr std::uint32_t kSmallest = sizeof(Block);
static_assert(kSmallest == 2 * kQuantum);

/// Lists of free blocks, by size, four to an octave: list i has blocks of at least least_of(i) bytes, and less than least_of(i + 1).
constexpr std::uint32_t class_of(std::uint32_t size) {
  const auto octave = static_cast<std::uint32_t>(std::bit_width(size)) - 1;  // 2^octave <= size
  return 4 * (octave - 5) + (size >> (octave - 2) & 3);
}
constexpr std::uint32_t least_of(std::uint32_t size_class) { return (4 + (size_class & 3)) << (size_class / 4 + 3); }
static_assert(class_of(kSmallest) == 0 && least_of(class_of(kChunk)) == kChunk && least_of(class_of(112)) == 112 && class_of(127) == class_of(112));
constexpr std::uint32_t kClasses = class_of(kChunk) + 1;
static_assert(kClasses <= 64);

Block* free_lists[kClasses];
std::uint64_t filled_lists;  // bits
std::size_t live_bytes;      // in used blocks
std::size_t dirty_bytes;     // in free ones

Block* at(Header* block, std::int64_t offset) { return reinterpret_cast<Block*>(reinterpret_cast<std::intptr_t>(block) + offset); }
Block* after(Header* block) { return block->last ? nullptr : at(block, block->size); }
Block* before(Header* block) { return block->before == 0 ? nullptr : at(block, -std::int64_t{block->before}); }

void list(Block* block) {
  const std::uint32_t own = class_of(block->size);
  block->used = 0;
  block->previous = nullptr;
  block->next = free_lists[own];
  if (block->next != nullptr) block->next->previous = block;
  free_lists[own] = block;
  filled_lists |= std::uint64_t{1} << own;
  dirty_bytes += block->dirty();
}

void unlist(Block* block) {
  const std::uint32_t own = class_of(block->size);
  (block->previous != nullptr ? block->previous->next : free_lists[own]) = block->next;
  if (block->next != nullptr) block->next->previous = block->previous;
  if (free_lists[own] == nullptr) filled_lists &= ~(std::uint64_t{1} << own);
  dirty_bytes -= block->dirty();
}

/// In no list, like all that is changed here.
void resize(Block* block, std::uint32_t size) {
  block->size = size;
  if (Block* next = after(block)) next->before = size;
}

/// Two neighbours become one.
void join(Block* block, const Block* behind) {
  block->last = behind->last;
  if (behind->dirty_end > behind->dirty_begin) {
    const bool any = block->dirty_end > block->dirty_begin;
    if (!any) block->dirty_begin = block->size + behind->dirty_begin;
    block->dirty_end = block->size + behind->dirty_end;
  }
  resize(block, block->size + behind->size);
}

/// Leaves `size` bytes of the block and lists the rest.
void cut(Block* block, std::uint32_t size) {
  const std::uint32_t rest = block->size - size;
  if (rest < kSmallest) return;
  Block* behind = at(block, size);
  behind->mapped = 0;
  behind->last = block->last;
  behind->before = size;
  behind->dirty_begin = std::max(block->dirty_begin, size) - size;
  behind->dirty_end = std::max(block->dirty_end, size) - size;
  resize(behind, rest);
  block->last = 0;
  block->size = size;
  list(behind);
}

std::uintptr_t fresh_pages(std::size_t bytes) {
  long p = sys::map_far(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (sys::failed(p)) die(Line() << "out of memory for translation tables (" << bytes << " bytes)");
  return static_cast<std::uintptr_t>(p);
}

Block* fresh_chunk() {
  auto* block = reinterpret_cast<Block*>(fresh_pages(kChunk) + kQuantum - sizeof(Header));
  block->size = kChunk - kQuantum;
  block->last = 1;
  return block;
}

/// A free block of at least `size` bytes, taken off its list: the tightest list in which every block fits, after a look at the one where some do.
Block* take(std::uint32_t size) {
  constexpr int kLooks = 4;
  const std::uint32_t own = class_of(size);
  int looks = 0;
  for (Block* block = free_lists[own]; block != nullptr && looks < kLooks; block = block->next, ++looks) {
    if (block->size < size) continue;
    unlist(block);
    return block;
  }
  const std::uint64_t larger = filled_lists & ~((std::uint64_t{2} << own) - 1);
  if (larger == 0) return fresh_chunk();
  Block* block = free_lists[std::countr_zero(larger)];
  unlist(block);
  return block;
}

/// Free memory is kept for the next translation, since fresh pages cost more than what is written to them; but no more than a part of what is in use.
std::size_t most_dirty() { return (std::size_t{64} << 10) + live_bytes / 4; }

void give_back() {
  for (std::uint32_t size_class = class_of(kLoose); size_class < kClasses; ++size_class) {
    for (Block* block = free_lists[size_class]; block != nullptr; block = block->next) {
      if (block->dirty_end == block->dirty_begin) continue;
      const auto begin = reinterpret_cast<std::uintptr_t>(block);
      // Whole pages, those too that the dirty range only reaches into: their other bytes were freed earlier.
      const std::uint64_t first = std::max(sys::page_of(begin + block->dirty_begin), sys::page_up(begin + kSmallest));
      const std::uint64_t end = std::min(sys::page_up(begin + block->dirty_end), sys::page_of(begin + block->size));
      if (first < end) sys::advise(first, end - first, MADV_DONTNEED);
      block->dirty_begin = block->dirty_end = 0;
    }
  }
  dirty_bytes = 0;
}

void* allocate_mapping(std::size_t n) {
  const std::size_t bytes = sys::page_up(n + kQuantum);
  auto* header = reinterpret_cast<Header*>(fresh_pages(bytes) + kQuantum) - 1;
  header->size = static_cast<std::uint32_t>(bytes / sys::kPage);
  header->mapped = 1;
  return header + 1;
}

void* allocate(std::size_t n) {
  if (n > kLargest) return allocate_mapping(n);
  const auto size = static_cast<std::uint32_t>(n + sizeof(Header) + kQuantum - 1) & ~(kQuantum - 1);
  Block* block = take(std::max(size, kSmallest));
  cut(block, std::max(size, kSmallest));
  block->used = 1;
  live_bytes += block->size;
  return static_cast<Header*>(block) + 1;
}

void release(void* p) {
  if (p == nullptr) return;
  Header* header = static_cast<Header*>(p) - 1;
  if (header->mapped) {
    sys::unmap(reinterpret_cast<std::uintptr_t>(p) - kQuantum, header->size * sys::kPage);
    return;
  }
  auto* block = static_cast<Block*>(header);
  live_bytes -= block->size;
  block->dirty_begin = 0;
  block->dirty_end = block->size;
  if (Block* next = after(block); next != nullptr && !next->used) {
    unlist(next);
    join(block, next);
  }
  if (Block* previous = before(block); previous != nullptr && !previous->used) {
    unlist(previous);
    join(previous, block);
    block = previous;
  }
  list(block);
  if (dirty_bytes > most_dirty()) give_back();
}

}  // namespace
}  // namespace fase::runtime

void* operator new(std::size_t n) { return fase::runtime::allocate(n); }
void* operator new[](std::size_t n) { return fase::runtime::allocate(n); }
void operator delete(void* p) noexcept { fase::runtime::release(p); }
void operator delete[](void* p) noexcept { fase::runtime::release(p); }
void operator delete(void* p, std::size_t) noexcept { fase::runtime::release(p); }
void operator delete[](void* p, std::size_t) noexcept { fase::runtime::release(p); }
