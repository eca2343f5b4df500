/* Looks up OpenSSL's functions by their names. */
#define _GNU_SOURCE
#include "tls_library.h"

#include <dlfcn.h>
#include <string.h>

TlsLibrary openssl;
static int loaded;

/* OPENSSL_VERSION_NUMBER is 0xMNN00PP0L: functions are stable within a major version. */
#define MAJOR(version) ((version) >> 28)

const char *tls_library_load(const char *path) {
    if (loaded) return NULL;
    /* Use only a library that is already loaded: a second copy of OpenSSL could trust other authorities than
       Python's. */
    void *handle = dlopen(path, RTLD_LAZY | (path == NULL ? 0 : RTLD_NOLOAD));
    if (handle == NULL) return "Python's ssl module is not a loaded library";
    TlsLibrary found;
    const char *missing = NULL;
    /* ISO C does not allow converting an object pointer to a function pointer, so its bytes are copied. */
#define FIND(type, name, parameters)                       \
    {                                                      \
        void *symbol = dlsym(handle, #name);               \
        if (symbol == NULL && missing == NULL) missing = #name; \
        memcpy(&found.name, &symbol, sizeof symbol);       \
    }
    TLS_FUNCTIONS(FIND)
#undef FIND
    if (missing == NULL && MAJOR(found.OpenSSL_version_num()) == 3) {
        /* The handle is never closed, so the functions stay valid. */
        openssl = found;
        loaded = 1;
        return NULL;
    }
    dlclose(handle);
    return missing != NULL ? "Python's ssl module does not show OpenSSL's functions" : "it is not OpenSSL 3";
}

int tls_library_is_loaded(void) {
    return loaded;
}
