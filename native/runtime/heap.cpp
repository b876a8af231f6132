// The agent's own heap: operator new and delete of this library alone (hidden visibility). The program's malloc may hold its lock, or be under
// translation, when a fault arrives. Power-of-two size classes with free lists over chunks from the kernel; the engine's lock guards it.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;
constexpr int kSmallest = 4;  // 16 bytes
constexpr int kLargest = 16;  // 64 KiB; larger blocks come from the kernel one by one

struct Free {
  Free* next;
};
Free* free_lists[kLargest + 1];
std::uintptr_t chunk_next, chunk_end;

// Every block carries its class (or, when large, its mapped size) in the 16 bytes before it: delete does not always know the size.
struct alignas(16) Header {
  std::uint64_t size_class;
  std::uint64_t mapped;
};

void* fresh_pages(std::size_t bytes) {
  long p = sys::map_far(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (sys::failed(p)) die(Line() << "out of memory for translation tables (" << bytes << " bytes)");
  return reinterpret_cast<void*>(p);
}

int class_of(std::size_t bytes) {
  int c = std::bit_width(bytes - 1);
  return c < kSmallest ? kSmallest : c;
}

void* carve(int size_class) {
  std::size_t bytes = std::size_t{1} << size_class;
  if (chunk_end - chunk_next < bytes) {
    chunk_next = reinterpret_cast<std::uintptr_t>(fresh_pages(kChunk));
    chunk_end = chunk_next + kChunk;
  }
  void* p = reinterpret_cast<void*>(chunk_next);
  chunk_next += bytes;
  return p;
}

void* allocate(std::size_t n) {
  std::size_t bytes = n + sizeof(Header);
  int size_class = class_of(bytes);
  Header* header;
  if (size_class > kLargest) {
    std::size_t mapped = sys::page_up(bytes);
    header = static_cast<Header*>(fresh_pages(mapped));
    *header = {0, mapped};
  } else {
    Free*& list = free_lists[size_class];
    void* block = list;
    if (list != nullptr) {
      list = list->next;
    } else {
      block = carve(size_class);
    }
    header = static_cast<Header*>(block);
    *header = {static_cast<std::uint64_t>(size_class), 0};
  }
  return header + 1;
}

void release(void* p) {
  if (p == nullptr) return;
  Header* header = static_cast<Header*>(p) - 1;
  if (header->mapped != 0) {
    sys::unmap(reinterpret_cast<std::uint64_t>(header), header->mapped);
    return;
  }
  Free*& list = free_lists[header->size_class];
  Free* block = reinterpret_cast<Free*>(header);
  block->next = list;
  list = block;
}

}  // namespace
}  // namespace fase::runtime

void* operator new(std::size_t n) { return fase::runtime::allocate(n); }
void* operator new[](std::size_t n) { return fase::runtime::allocate(n); }
void operator delete(void* p) noexcept { fase::runtime::release(p); }
void operator delete[](void* p) noexcept { fase::runtime::release(p); }
void operator delete(void* p, std::size_t) noexcept { fase::runtime::release(p); }
void operator delete[](void* p, std::size_t) noexcept { fase::runtime::release(p); }
