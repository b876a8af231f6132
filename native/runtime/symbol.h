// Looking up a symbol in one loaded library, without the dynamic linker: dlopen would run libc's constructor before its turn (and without the
// environment), and dlsym over all libraries may find an interposed function instead of libc's own.
#pragma once
#include <link.h>

namespace fase::runtime {

/// Address of the defined symbol `name` in `library`, by its GNU hash table; null when there is none.
void* find_symbol(const link_map& library, const char* name);

}  // namespace fase::runtime
