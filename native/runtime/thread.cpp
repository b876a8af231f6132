#include "runtime/thread.h"

namespace fase::runtime {

thread_local ThreadBlock thread_block;

core::Scratch scratch_layout() {
  std::uint64_t fs;
  asm("mov %%fs:0, %0" : "=r"(fs));  // the TCB's first word is its own address
  auto displacement = [fs](const void* p) { return static_cast<std::int32_t>(reinterpret_cast<std::uint64_t>(p) - fs); };
  core::Scratch layout;
  layout.vectors = displacement(thread_block.vectors);
  layout.vector_slots = sizeof thread_block.vectors / sizeof thread_block.vectors[0];
  layout.words = displacement(thread_block.words);
  layout.word_slots = sizeof thread_block.words / sizeof thread_block.words[0];
  layout.counters = displacement(&thread_block.counters);
  return layout;
}

}  // namespace fase::runtime
