// The record file: what one process did, readable while it runs and after it was killed. Little endian, mapped shared by the agent.
// `src/fase/records.py` reads it; both sides check magic and version. Change the layout, change kRecordVersion.
#pragma once
#include <cstdint>

namespace fase::abi {

inline constexpr char kRecordMagic[8] = {'F', 'A', 'S', 'E', 'R', 'E', 'C', '1'};
inline constexpr std::uint32_t kRecordVersion = 8;

inline constexpr std::uint32_t kMaxModes = 256;
inline constexpr std::uint32_t kModeName = 56;  // bytes, NUL-terminated
inline constexpr std::uint32_t kMaxSegments = 1 << 17;
inline constexpr std::uint32_t kMaxBlocks = 2048;  // one a live thread; a dead thread's block is handed on with its counts
inline constexpr std::uint32_t kMaxModules = 1024;
inline constexpr std::uint32_t kModulePath = 240;

/// Why a site is not emulated. Index into RecordHeader::sites_by_reason; names in `src/fase/records.py`.
enum class Reason : std::uint32_t {
  emulated = 0,               // in scope
  fp64 = 1,                   // double precision, no operator for it when the code was found: runs unchanged
  transcendental_symbol = 2,  // scope: inside a function named as exp, log, tanh...
  transcendental_code = 3,    // scope: constant-fed polynomial
  user = 4,                   // --exclude / --include / policy
  unconfirmed = 5,            // bytes that look like an FMA in a touched page, not proven to be an instruction; left alone
  unsupported = 6,            // the engine could not move the instruction; it runs natively, uncounted
  random_numbers = 7,         // scope: inside a random number generator
  bf16 = 8,                   // an instruction of BF16: runs unchanged
  count = 9,
};

struct ModeRecord {
  char name[kModeName];
  std::uint64_t reserved;
};

/// A process that could not be followed, and other notes for people: text lines, NUL-terminated, newline-separated.
inline constexpr std::uint32_t kNotes = 4096;

struct RecordHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t header_size;          // offset of the segment table
  std::uint32_t blocks_offset_pages;  // offset of the counter blocks in 4096-byte pages
  std::uint32_t pid;
  std::uint32_t parent_pid;
  std::uint32_t isa;              // 0 avx2, 1 avx512
  std::uint64_t start_ns;         // CLOCK_REALTIME
  std::uint64_t segments;         // entries of the segment table in use
  std::uint64_t blocks;           // counter blocks in use
  std::uint64_t modes;            // entries of mode[] in use
  std::uint64_t modules;          // entries of module[] in use
  std::uint64_t sites;            // sites found in touched code: FMAs and BF16 instructions
  std::uint64_t regions;          // regions compiled
  std::uint64_t code_bytes;       // machine code emitted
  std::uint64_t translate_ns;     // time in discovery and translation
  std::uint64_t faults;           // faults handled by the engine
  std::uint64_t mode_now;         // index into mode[]: what FMAs of no rule run in
  std::uint64_t control_taken;    // number of the last request of the control file (native/abi/control.h) that was dealt with
  std::uint64_t control_refused;  // the same, of the last that could not be carried out; a note says why
  std::uint64_t sites_by_reason[static_cast<int>(Reason::count)];
  // What was counted with its segment but did not run because of a fault inside it: to be subtracted. Per mode (of FMAs): emulated, excluded, fp64,
  // fp64_emulated; per mode of VDPBF16PS: dots_emulated, dots, conversions.
  std::uint64_t not_executed[kMaxModes][7];
  ModeRecord mode[kMaxModes];
  char module[kMaxModules][kModulePath];  // index 0: code in no file (JIT)
  char command[4096];                     // NUL-separated argv, cut
  char notes[kNotes];
};

struct SegmentRecord {
  std::uint64_t guest;     // address of the region's first instruction
  std::uint32_t module;    // index into RecordHeader::module
  std::uint32_t mode;      // index into RecordHeader::mode: of FMAs
  std::uint32_t emulated;  // FMAs a pass executes
  std::uint32_t excluded;
  std::uint32_t fp64;           // double precision, run as they are
  std::uint32_t instructions;   // machine instructions a pass executes, but for those behind loops, where what is rare goes
  std::uint64_t guest_offset;   // guest minus the module's load bias (link-time address); 0 for JIT code
  std::uint32_t function;       // line of the names file: 0 for code in no known function
  std::uint32_t dot_mode;       // index into RecordHeader::mode: of VDPBF16PS under an operator
  std::uint32_t dots_emulated;  // VDPBF16PS a pass executes under an operator
  std::uint32_t dots;           // and as they are
  std::uint32_t conversions;    // VCVTNEPS2BF16 and VCVTNE2PS2BF16
  std::uint32_t fp64_emulated;  // double-precision FMAs under the mode's operator
  std::uint32_t lanes;          // of the emulated FMAs, summed: 1 for a scalar one, 4, 8, 16; masks are not looked at
  std::uint32_t chunked;        // of `emulated`: those whose sums go to binary32 totals (option chunk=N)
  std::uint32_t bounded;        // of `emulated`: those of a loop that is there twice (ARCHITECTURE.md, bounded loops); this is the bounded one
  std::uint32_t unbounded;      // and this the full one
};

// Beside the record, the names file (same path + kNamesSuffix), text, appended while the process runs: one line a function that ran,
// `number TAB module index TAB name` with the name as the symbol table has it (mangled), empty for a function known only from unwind tables.
inline constexpr char kNamesSuffix[] = ".names";

// The file: RecordHeader, padding to header_size, SegmentRecord[kMaxSegments], then at blocks_offset_pages*4096 the counter blocks:
// uint64 counts[kMaxSegments] each. Executed count of segment s = sum over blocks of counts[s].
// Totals: fma_executed = sum_s executed(s) * (emulated+excluded+fp64+fp64_emulated) - not_executed, and so on by class and mode.

}  // namespace fase::abi
