#include "runtime/record.h"

#include <errno.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "runtime/message.h"
#include "runtime/system.h"
#include "runtime/thread.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kHeaderBytes = sys::page_up(sizeof(abi::RecordHeader));
constexpr std::size_t kSegmentBytes = sys::page_up(std::size_t{abi::kMaxSegments} * sizeof(abi::SegmentRecord));
constexpr std::size_t kBlocksAt = kHeaderBytes + kSegmentBytes;
constexpr std::size_t kBlockBytes = std::size_t{abi::kMaxSegments} * sizeof(std::uint64_t);
constexpr std::size_t kWholeBytes = kBlocksAt + kBlockBytes * abi::kMaxBlocks;  // address space; the file is sparse

std::string decimal(std::uint64_t n) {
  char digits[20];
  std::size_t i = sizeof digits;
  do {
    digits[--i] = static_cast<char>('0' + n % 10);
    n /= 10;
  } while (n != 0);
  return std::string(digits + i, sizeof digits - i);
}

void copy_cut(char* to, std::size_t size, std::string_view from) {
  std::size_t n = from.size() < size - 1 ? from.size() : size - 1;
  std::memcpy(to, from.data(), n);
  to[n] = 0;
}

/// Gives the page its place on the disk. False: there is none. A kernel before 5.14 cannot be asked: true.
bool allocate(std::uint64_t page) { return sys::advise(page, sys::kPage, sys::kPopulateWrite) != -EFAULT; }

/// A file size limit is to be an error here, not the program's end by SIGXFSZ.
long size_file(int fd) {
  sys::KernelSigaction ignore{}, before{};
  ignore.handler = reinterpret_cast<void*>(SIG_IGN);
  sys::sigaction(SIGXFSZ, &ignore, &before);
  long result = sys::truncate(fd, static_cast<long>(kWholeBytes));
  sys::sigaction(SIGXFSZ, &before, nullptr);
  return result;
}

}  // namespace

std::string Record::map_file() {
  std::uint64_t start = sys::nanoseconds(CLOCK_REALTIME);
  path_ = directory_ + "/" + decimal(static_cast<std::uint64_t>(sys::process())) + "-" + decimal(start) + ".faserec";
  int fd = static_cast<int>(sys::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (fd < 0) return "cannot create the record file " + path_ + " (errno " + decimal(static_cast<std::uint64_t>(-fd)) + ")";
  if (sys::failed(size_file(fd))) {
    return "cannot give the record file " + path_ + " its " + decimal(kWholeBytes >> 20) + " MiB (sparse): is there a file size limit (ulimit -f)?";
  }
  constexpr int kProtection = PROT_READ | PROT_WRITE, kFlags = MAP_SHARED | MAP_NORESERVE;
  long p = base_ == nullptr ? sys::map_far(kWholeBytes, kProtection, kFlags, fd)
                            : sys::map(reinterpret_cast<std::uint64_t>(base_), kWholeBytes, kProtection, kFlags | MAP_FIXED, fd);
  sys::close(fd);
  if (sys::failed(p)) return "cannot map the record file " + path_;
  if (base_ == nullptr && !allocate(static_cast<std::uint64_t>(p))) return "no space left on the disk for the record file " + path_;
  base_ = reinterpret_cast<std::uint8_t*>(p);
  header_ = reinterpret_cast<abi::RecordHeader*>(base_);
  segments_ = reinterpret_cast<abi::SegmentRecord*>(base_ + kHeaderBytes);
  secure(header_, offsetof(abi::RecordHeader, module));
  header_->version = abi::kRecordVersion;
  header_->header_size = kHeaderBytes;
  header_->blocks_offset_pages = kBlocksAt / sys::kPage;
  header_->pid = static_cast<std::uint32_t>(sys::process());
  header_->parent_pid = static_cast<std::uint32_t>(sys::call(SYS_getppid));
  header_->start_ns = start;
  return {};
}

std::string Record::create(const std::string& directory, const char* command, std::size_t command_size) {
  directory_ = directory;
  if (std::string problem = map_file(); !problem.empty()) return problem;
  secure(header_->command, sizeof header_->command);
  std::size_t n = command_size < sizeof header_->command ? command_size : sizeof header_->command;
  std::memcpy(header_->command, command, n);
  header_->modules = 1;                                                   // 0: code in no file
  std::memcpy(header_->magic, abi::kRecordMagic, sizeof header_->magic);  // last: a reader sees a whole header or none
  return {};
}

void Record::renew_after_fork() {
  disk_full_ = false;
  // The old mapping is shared with the parent, which goes on counting in it: copy what is needed before it is replaced.
  auto* header = static_cast<abi::RecordHeader*>(::operator new(sizeof(abi::RecordHeader)));
  std::memcpy(header, header_, sizeof *header);
  std::size_t segment_bytes = header->segments * sizeof(abi::SegmentRecord);
  auto* segments = static_cast<abi::SegmentRecord*>(::operator new(segment_bytes + 1));
  std::memcpy(segments, segments_, segment_bytes);
  if (std::string problem = map_file(); !problem.empty()) die(Line() << problem, kAgentRefused);

  header->pid = header_->pid;
  header->parent_pid = header_->parent_pid;
  header->start_ns = header_->start_ns;
  header->blocks = 0;
  header->sites = header->regions = header->code_bytes = header->translate_ns = header->faults = 0;
  std::memset(header->sites_by_reason, 0, sizeof header->sites_by_reason);
  std::memset(header->not_executed, 0, sizeof header->not_executed);
  std::memset(header->notes, 0, sizeof header->notes);
  secure(header_, sizeof *header);
  secure(segments_, segment_bytes);
  std::memcpy(segments_, segments, segment_bytes);
  std::memcpy(header_, header, sizeof *header);
  ::operator delete(header);
  ::operator delete(segments);
  adopt_after_fork(*this);
}

/// Where the disk is full, memory that nobody else sees takes the place of the file: the program goes on, and its counts there are lost.
void Record::secure(const void* from, std::size_t bytes) {
  const std::uint64_t begin = sys::page_of(reinterpret_cast<std::uint64_t>(from)), end = reinterpret_cast<std::uint64_t>(from) + bytes;
  for (std::uint64_t page = begin; page < end; page += sys::kPage) {
    if (allocate(page)) continue;
    sys::map(page, sys::kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
    if (disk_full_) continue;
    disk_full_ = true;
    say(Line() << "no space left on the disk for " << path_ << ": the program goes on, but not all of its FMAs will be counted");
    note("no space was left on the disk for the record file: counts are too low");
  }
}

std::uint32_t Record::find_mode(std::string_view name) const {
  std::uint32_t i = 0;
  while (i < header_->modes && name != header_->mode[i].name) ++i;
  return i;
}

std::string Record::room_problem(std::span<const std::string_view> names) const {
  const std::uint64_t used = header_ != nullptr ? header_->modes : 0;
  std::uint64_t fresh = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool seen = std::find(names.begin(), names.begin() + i, names[i]) != names.begin() + i;
    fresh += !seen && (header_ == nullptr || find_mode(names[i]) == used);
  }
  if (used + fresh <= abi::kMaxModes) return {};
  return "one process can be in " + decimal(abi::kMaxModes) + " different modes; this would be number " + decimal(used + fresh);
}

std::uint32_t Record::mode_index(std::string_view name) {
  if (std::uint32_t known = find_mode(name); known < header_->modes) return known;
  if (header_->modes == abi::kMaxModes) die(Line() << "more than " << abi::kMaxModes << " different modes in one process");
  copy_cut(header_->mode[header_->modes].name, abi::kModeName, name);
  return static_cast<std::uint32_t>(header_->modes++);
}

std::uint32_t Record::module_index(std::string_view path) {
  if (path.empty()) return 0;
  for (std::uint32_t i = 1; i < header_->modules; ++i) {
    if (path.substr(0, abi::kModulePath - 1) == header_->module[i]) return i;
  }
  if (header_->modules == abi::kMaxModules) return 0;
  secure(header_->module[header_->modules], abi::kModulePath);
  copy_cut(header_->module[header_->modules], abi::kModulePath, path);
  return static_cast<std::uint32_t>(header_->modules++);
}

void Record::note(std::string_view text) {
  secure(header_->notes, abi::kNotes);
  std::size_t used = strnlen(header_->notes, abi::kNotes);
  if (used + text.size() + 2 > abi::kNotes) return;
  std::memcpy(header_->notes + used, text.data(), text.size());
  header_->notes[used + text.size()] = '\n';
}

void Record::add_segment(const abi::SegmentRecord& segment) {
  if (header_->segments == abi::kMaxSegments) {
    die(Line() << "more than " << abi::kMaxSegments << " code segments in one process: the record file cannot count them");
  }
  const std::uint64_t index = header_->segments;
  secure(&segments_[index], sizeof segment);
  if (index * sizeof(std::uint64_t) % sys::kPage == 0) {
    for (std::uint64_t b = 0; b < header_->blocks; ++b) secure(counts_of(b) + index, sizeof(std::uint64_t));
  }
  segments_[index] = segment;
  header_->segments = index + 1;
}

std::uint64_t* Record::counts_of(std::uint64_t block) const { return reinterpret_cast<std::uint64_t*>(base_ + kBlocksAt + block * kBlockBytes); }

Record::Block Record::block_for_this_thread() {
  int me = sys::thread();
  int pid = sys::process();
  std::uint64_t blocks = header_->blocks;
  std::uint64_t chosen = blocks;
  for (std::uint64_t i = 0; i < blocks && chosen == blocks; ++i) {
    // A dead thread's block goes on counting for the next thread; a thread id that came back is the same as a dead one.
    if (owners_[i] == me || sys::signal_thread(pid, owners_[i], 0) == -ESRCH) chosen = i;
  }
  if (chosen == abi::kMaxBlocks) die(Line() << "more than " << abi::kMaxBlocks << " threads alive at once: the record file cannot count them");
  owners_[chosen] = me;
  if (chosen == blocks) {
    secure(counts_of(chosen), header_->segments * sizeof(std::uint64_t));
    header_->blocks = blocks + 1;
  }
  return {counts_of(chosen), static_cast<std::uint32_t>(chosen)};
}

}  // namespace fase::runtime
