// The agent's own heap: operator new and delete of this library alone (hidden visibility). The program's malloc may hold its lock, or be under
// translation, when a fault arrives. Size classes, four to an octave, with free lists over chunks from the kernel; the engine's lock guards it.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;
constexpr std::size_t kLargest = std::size_t{32} << 10;  // block of a chunk; larger ones are mappings of their own
constexpr std::size_t kKept = std::size_t{448} << 10;    // bytes of such mappings that wait for the next translation: fresh pages are what it costs
constexpr std::size_t kQuantum = 16;                     // blocks are multiples of it, eight bytes off: what stands behind the header is aligned

/// Before every block: delete does not always know the size.
struct Header {
  std::uint32_t size;  // its class; of a mapping: pages
  bool mapped;
};
static_assert(sizeof(Header) == 8);

struct Free {
  Free* next;
};

/// Class 0 has 16 bytes, 3 has 64; from there on four classes an octave.
constexpr std::uint32_t class_of(std::size_t bytes) {
  if (bytes <= 4 * kQuantum) return static_cast<std::uint32_t>((bytes + kQuantum - 1) / kQuantum) - 1;
  const int octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave+1)
  const std::size_t quarter = (bytes - 1) >> (octave - 2) & 3;
  return static_cast<std::uint32_t>(4 * (octave - 5) + static_cast<int>(quarter));
}

constexpr std::size_t size_of(std::uint32_t size_class) {
  if (size_class < 4) return kQuantum * (size_class + 1);
  return (std::size_t{4} + (size_class & 3) + 1) << (size_class / 4 + 3);
}
static_assert(size_of(class_of(64)) == 64 && size_of(class_of(65)) == 80 && size_of(class_of(129)) == 160 && size_of(class_of(kLargest)) == kLargest);

constexpr std::uint32_t kClasses = class_of(kLargest) + 1;
Free* free_lists[kClasses];
std::uintptr_t chunk_next, chunk_end;

/// Mappings that were given back.
struct Kept {
  std::uintptr_t at;
  std::size_t bytes;
};
constexpr int kMostKept = 16;
Kept kept[kMostKept];
int kept_count;
std::size_t kept_bytes;

std::uintptr_t fresh_pages(std::size_t bytes) {
  long p = sys::map_far(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (sys::failed(p)) die(Line() << "out of memory for translation tables (" << bytes << " bytes)");
  return static_cast<std::uintptr_t>(p);
}

std::uintptr_t carve(std::size_t bytes) {
  if (chunk_end - chunk_next < bytes) {
    chunk_next = fresh_pages(kChunk) + sizeof(Header);
    chunk_end = chunk_next - sizeof(Header) + kChunk;
  }
  std::uintptr_t p = chunk_next;
  chunk_next += bytes;
  return p;
}

void drop_mapping() {
  Kept& last = kept[--kept_count];
  kept_bytes -= last.bytes;
  sys::unmap(last.at, last.bytes);
}

/// The smallest kept mapping of this size, if it is not much too large.
Kept take_mapping(std::size_t bytes) {
  int best = -1;
  for (int i = 0; i < kept_count; ++i) {
    bool fits = kept[i].bytes >= bytes && kept[i].bytes <= 2 * bytes;
    if (fits && (best < 0 || kept[i].bytes < kept[best].bytes)) best = i;
  }
  if (best < 0) {
    while (kept_count > 0 && kept_bytes + bytes > kKept) drop_mapping();  // what is kept does not add to what is large
    return {fresh_pages(bytes), bytes};
  }
  Kept taken = kept[best];
  kept[best] = kept[--kept_count];
  kept_bytes -= taken.bytes;
  return taken;
}

void return_mapping(Kept mapping) {
  if (kept_count == kMostKept || kept_bytes + mapping.bytes > kKept) {
    sys::unmap(mapping.at, mapping.bytes);
    return;
  }
  kept[kept_count++] = mapping;
  kept_bytes += mapping.bytes;
}

void* allocate(std::size_t n) {
  std::size_t bytes = n + sizeof(Header);
  if (bytes > kLargest) {
    Kept mapping = take_mapping(sys::page_up(bytes + kQuantum - sizeof(Header)));
    auto* header = reinterpret_cast<Header*>(mapping.at + kQuantum) - 1;
    *header = {static_cast<std::uint32_t>(mapping.bytes / sys::kPage), true};
    return header + 1;
  }
  std::uint32_t size_class = class_of(bytes);
  Free*& list = free_lists[size_class];
  Header* header;
  if (list != nullptr) {
    header = reinterpret_cast<Header*>(list) - 1;
    list = list->next;
  } else {
    header = reinterpret_cast<Header*>(carve(size_of(size_class)));
  }
  *header = {size_class, false};
  return header + 1;
}

void release(void* p) {
  if (p == nullptr) return;
  Header* header = static_cast<Header*>(p) - 1;
  if (header->mapped) return return_mapping({reinterpret_cast<std::uintptr_t>(p) - kQuantum, header->size * sys::kPage});
  Free*& list = free_lists[header->size];
  Free* block = static_cast<Free*>(p);
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
