// The ELF modules of the process, as the dynamic linker lists them.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/elf/module.h"
#include "core/types.h"

namespace fase::runtime {

struct Segment {
  core::Extent extent;  // page aligned
  bool executable = false;
  bool writable = false;
};

class Module {
 public:
  Module() = default;
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  std::string path;
  core::Address bias = 0;
  std::vector<Segment> segments;
  bool trusted = false;  // never patched: the agent, what it stands on, the dynamic linker and libc

  bool contains(core::Address a) const;
  const Segment* segment_at(core::Address a) const;
  std::string_view name() const;  // base name of the path
  /// Function tables, read from the file on first need.
  core::ModuleFunctions& functions();
  /// Lets the kernel have the file's pages back until the next query.
  void release_file() const;

 private:
  std::span<const std::uint8_t> file_;  // mapped while `functions_` lives
  std::unique_ptr<core::ModuleFunctions> functions_;
};

/// One entry of the dynamic linker's list. Collected without the engine's lock: the list has locks of its own, and a thread that holds them may
/// be waiting for the engine in a fault handler.
struct LoadedModule {
  core::Address bias;
  const char* name;
  const void* program_headers;
  std::uint32_t program_header_count;
};

/// Fills `out` from dl_iterate_phdr; returns the number of modules (more than fit: only the first are stored).
std::size_t list_loaded_modules(std::span<LoadedModule> out);

class Modules {
 public:
  struct Change {
    std::vector<Module*> added;
    std::vector<std::unique_ptr<Module>> removed;
  };
  /// Compares the dynamic linker's list with ours.
  Change refresh(std::span<const LoadedModule> now);
  /// Empties the list: the next refresh() finds everything added.
  void forget();
  Module* at(core::Address a);
  const std::vector<std::unique_ptr<Module>>& all() const { return modules_; }

 private:
  struct Owned {
    core::Extent extent;
    Module* module;
  };
  void index();

  std::vector<std::unique_ptr<Module>> modules_;
  std::vector<Owned> segments_;  // of all modules, ascending
};

}  // namespace fase::runtime
