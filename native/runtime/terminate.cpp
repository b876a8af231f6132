// In place of libstdc++'s handler, which prints the type of an exception and brings a demangler of 40 KB along for it. Nothing here catches or throws;
// the library does where a limit of its own is exceeded (std::length_error).
#include "runtime/message.h"

namespace __gnu_cxx {

[[noreturn]] void __verbose_terminate_handler();
void __verbose_terminate_handler() { fase::runtime::die(fase::runtime::Line() << "internal error: an exception of the C++ library"); }

}  // namespace __gnu_cxx
