#include "kernels/cuda/kernel_name.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static const char *skip(const char *at, const char *what)
{
    size_t n = strlen(what);

    return strncmp(at, what, n) == 0 ? at + n : at;
}

/* Where the list of parameters begins; or the end. */
static const char *parameters(const char *name)
{
    int depth = 0;

    for (const char *at = name; *at; at++) {
        at = skip(at, "(anonymous namespace)");
        depth += (*at == '<') - (*at == '>');
        if (*at == '(' && depth == 0)
            return at;
        if (!*at)
            return at;
    }
    return name + strlen(name);
}

/* Writes the text without name spaces: a word before "::" is dropped again. */
static void put(char *out, const char *from, const char *end)
{
    size_t n = 0, word = 0; /* where the last word began */

    while (from < end && n + 1 < LD_KERNEL_NAME) {
        const char *next = skip(from, "(anonymous namespace)::");

        if (next != from) {
            from = next;
        } else if (from[0] == ':' && from[1] == ':' && n > word) {
            n = word;
            from += 2;
        } else {
            if (!is_word(*from))
                word = n + 1;
            out[n++] = *from++;
        }
    }
    out[n] = 0;
}

void ld_kernel_name(char out[LD_KERNEL_NAME], const char *symbol)
{
    int status = 0;
    char *whole = abi::__cxa_demangle(symbol, NULL, NULL, &status);
    const char *name = whole ? skip(whole, "void ") : symbol;

    if (whole)
        put(out, name, parameters(name));
    else
        snprintf(out, LD_KERNEL_NAME, "%s", symbol);
    free(whole);
}
