#include "runtime/thread.h"

#include "runtime/message.h"
#include "runtime/record.h"
#include "runtime/system.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

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
#ifndef FASE_LATE
  layout.totals = displacement(thread_block.totals);
#endif
  layout.random = displacement(&thread_block.random);
  return layout;
}

namespace {

/// What a thread has beside its counters; a dead thread's goes with its counter block to a later one.
struct Belongings {
  alignas(64) std::uint8_t stack[kSignalStack];
  Streams streams;
};
Belongings* belongings[abi::kMaxBlocks];  // by counter block

long kernel_sigaltstack(const stack_t* stack, stack_t* old) {
  return sys::call(SYS_sigaltstack, reinterpret_cast<long>(stack), reinterpret_cast<long>(old));
}

bool inside(const stack_t& stack) {
  auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  return here - reinterpret_cast<std::uint64_t>(stack.ss_sp) < stack.ss_size;
}

Belongings& take_belongings(const Record::Block& block) {
  thread_block.counters = block.counts;
  Belongings*& own = belongings[block.number];
  if (own == nullptr) {
    long memory = sys::map_far(sizeof(Belongings), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE);
    if (sys::failed(memory)) die(Line() << "out of memory for a signal stack");
    own = reinterpret_cast<Belongings*>(memory);
  }
  thread_block.engine_stack = own->stack;
  thread_block.random = &own->streams;
  stack_t before{};
  kernel_sigaltstack(nullptr, &before);
  thread_block.has_guest_stack = (before.ss_flags & SS_DISABLE) == 0;
  thread_block.guest_stack = before;
  stack_t ours = engine_signal_stack();
  if (!thread_block.has_guest_stack) kernel_sigaltstack(&ours, nullptr);
  return *own;
}

}  // namespace

stack_t engine_signal_stack() {
  stack_t stack{};
  stack.ss_sp = thread_block.engine_stack;
  stack.ss_size = kSignalStack;
  stack.ss_flags = static_cast<int>(SS_AUTODISARM);
  return stack;
}

void adopt_thread(Record& record, std::uint32_t number) {
  Record::Block block = record.block_for_this_thread();
  give_streams(block.number, take_belongings(block).streams, number);
}

void adopt_after_fork(Record& record) {
  Streams* before = thread_block.random;
  if (before == nullptr) return adopt_thread(record);
  Record::Block block = record.block_for_this_thread();
  move_streams(block.number, take_belongings(block).streams, *before);
}

long guest_sigaltstack(const stack_t* stack, stack_t* old) {
  stack_t before{};
  before.ss_flags = SS_DISABLE;
  if (thread_block.has_guest_stack) {
    before = thread_block.guest_stack;
    before.ss_flags = inside(before) ? SS_ONSTACK : 0;
  }
  if (stack != nullptr) {
    bool disable = (stack->ss_flags & SS_DISABLE) != 0 && thread_block.engine_stack != nullptr && thread_block.handler == 0;
    stack_t ours = engine_signal_stack();
    long result = kernel_sigaltstack(disable ? &ours : stack, nullptr);
    if (sys::failed(result)) return result;
    thread_block.has_guest_stack = (stack->ss_flags & SS_DISABLE) == 0;
    thread_block.guest_stack = *stack;
  }
  if (old != nullptr) *old = before;
  return 0;
}

}  // namespace fase::runtime
