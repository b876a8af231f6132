// Which FMAs are not arithmetic of the model: the insides of transcendental functions (DESIGN: scope).
#pragma once
#include <cstddef>
#include <string_view>
#include <vector>

#include "core/discover/discover.h"
#include "core/types.h"

namespace fase::core {

/// Memory that holds constants as far as a polynomial is concerned: read-only data of a module, or a table inside JIT code.
class ConstantMemory {
 public:
  virtual ~ConstantMemory() = default;
  virtual bool is_constant(Address a) const = 0;
};

/// True when a function of this (mangled or plain) name in this library (path or base name) is a transcendental function. An empty name is a
/// function without a symbol: in a mathematical library (libm, libmvec...) it is the inside of one, unless it has but one FMA (`fmas`): fma().
bool is_transcendental(std::string_view function, std::string_view library, std::size_t fmas = 0);

/// True when a function of this (mangled or plain) name draws random numbers.
bool is_random_generator(std::string_view function);

/// Sites (ascending) that belong to a constant-fed polynomial: exp, log, tanh, erf, sin... inlined in library code or made by a JIT. `found` is one
/// function's. Without `fp64` only those of single precision, and functions without are not looked at.
std::vector<Address> polynomial_sites(const CodeView& code, const Discovery& found, const ConstantMemory& constants, bool fp64 = false);

}  // namespace fase::core
