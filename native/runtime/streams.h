// The random streams of stochastic rounding (docs/operators.md): one for each thread and seed, in memory that outlives the thread, since emulation may be
// started again, or a seed be used for the first time, while threads run.
#pragma once
#include <cstdint>

#include "abi/record.h"
#include "core/numerics/random.h"

namespace fase::runtime {

inline constexpr std::uint32_t kMostSeeds = abi::kMaxModes;

/// What ThreadBlock::random points to.
using Streams = core::RandomStream[kMostSeeds];

/// A new number for a thread: 0, 1, 2, ... Like all that follows under the engine's lock, or with no other thread.
std::uint32_t next_thread_number();

/// The thread with this number has the streams of counter block `block` from now on; all start.
void give_streams(std::uint32_t block, Streams& streams, std::uint32_t thread);
/// The calling thread, alone after a fork, moves to another block; its streams go on.
void move_streams(std::uint32_t block, Streams& streams, const Streams& from);

/// Bytes from ThreadBlock::random to the stream of `seed`, which starts in every thread when it is used for the first time.
std::uint32_t stream_of(std::uint32_t seed);

/// All streams start again.
void restart_streams();

}  // namespace fase::runtime
