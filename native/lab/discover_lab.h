// Discovery, ELF tables and scope through ctypes: for tests and for looking at real libraries. No process is patched.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {
struct FaseLabImage;   // memory as discovery sees it: ranges of bytes at addresses, perhaps with an ELF file's tables
struct FaseLabResult;  // a Discovery

struct FaseLabSite {
  std::uint64_t at;
  std::uint8_t length, fp64, polynomial, bf16, padding[4];
  std::uint64_t function;  // begin of the function it was found in
};
struct FaseLabExtent {
  std::uint64_t begin, end;
};
struct FaseLabFunction {
  std::uint64_t begin, end;
  std::uint32_t landing_pads, entries;
};

/// An image with no memory. Free with fase_lab_image_free.
FaseLabImage* fase_lab_image_new();
void fase_lab_image_free(FaseLabImage*);
/// Memory at `address`; `bytes` must outlive the image. `constant`: read-only data as far as scope is concerned.
void fase_lab_image_add(FaseLabImage*, std::uint64_t address, const std::uint8_t* bytes, std::size_t n, int constant);
/// An ELF file's loadable segments and tables at `bias`; `file` must outlive the image. Returns the number of code extents.
std::size_t fase_lab_image_add_elf(FaseLabImage*, const std::uint8_t* file, std::size_t n, std::uint64_t bias);

/// Fill up to `capacity` elements and return how many there are.
std::size_t fase_lab_functions(FaseLabImage*, std::uint64_t begin, std::uint64_t end, FaseLabFunction* out, std::size_t capacity);
std::size_t fase_lab_code(FaseLabImage*, FaseLabExtent* out, std::size_t capacity);
std::size_t fase_lab_data(FaseLabImage*, std::uint64_t begin, std::uint64_t end, FaseLabExtent* out, std::size_t capacity);
/// Name of the innermost function symbol (length returned, 0: none) and its extent.
std::size_t fase_lab_symbol_at(FaseLabImage*, std::uint64_t a, FaseLabExtent* extent, char* out, std::size_t capacity);

FaseLabResult* fase_lab_discover_function(FaseLabImage*, std::uint64_t begin, std::uint64_t end, int landing_pads, const std::uint64_t* entries,
                                          std::size_t entry_count);
FaseLabResult* fase_lab_discover_from(FaseLabImage*, std::uint64_t entry, FaseLabExtent bounds, FaseLabExtent pages);
void fase_lab_result_free(FaseLabResult*);
/// `constants_outside_code`: memory of the image that `covered` doesn't hold is constant, whatever it was added as (JIT buffers).
std::size_t fase_lab_result_sites(FaseLabImage*, FaseLabResult*, int constants_outside_code, FaseLabSite* out, std::size_t capacity);
std::size_t fase_lab_result_unconfirmed(FaseLabResult*, std::uint64_t* out, std::size_t capacity);
std::size_t fase_lab_result_covered(FaseLabResult*, FaseLabExtent* out, std::size_t capacity);

/// Every site of every function of the ELF file that overlaps [begin, end). `seconds`: time in tables, discovery, scope (3 values).
std::size_t fase_lab_survey(FaseLabImage*, std::uint64_t begin, std::uint64_t end, FaseLabSite* out, std::size_t capacity, double* seconds);

int fase_lab_is_transcendental(const char* function, const char* library, std::size_t fmas);
int fase_lab_looks_like_fma(const std::uint8_t* p, std::size_t n);
int fase_lab_any_fma_pattern(const std::uint8_t* p, std::size_t n, std::size_t tail);
}
