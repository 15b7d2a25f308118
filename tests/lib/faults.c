/* Replacements for the C library's allocation and writing calls that count down to a failure.
 *
 * A definition in the program takes precedence over one in a shared library, so our code and all
 * libraries call these. Memory calls pass on to the C library (to the sanitizer's interceptors in a
 * build with AddressSanitizer); writing calls make the system call themselves, because there is no
 * second name for the C library's own. The state is per thread, so other threads never fail. */
#include "tests/lib/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static _Thread_local uint64_t left[2]; /* calls until one fails, by kind; 0: none fails */
static _Thread_local int number_of_write;
static _Thread_local bool happened;
static _Atomic uint64_t points; /* failures so far, all threads */

void fault_arm(enum fault kind, uint64_t nth, int number)
{
    happened = false;
    number_of_write = number;
    left[kind] = nth;
}

bool fault_disarm(void)
{
    left[FAULT_MEMORY] = left[FAULT_WRITE] = 0;
    return happened;
}

void fault_scratch(void)
{
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 1);
    }
}

uint64_t fault_points(void)
{
    return atomic_load(&points);
}

/* Address ranges of code whose allocations never fail: a library and the C library. */
static struct range {
    uintptr_t begin, end;
} spared[2];

/* A dl_iterate_phdr callback: records the executable segment of the library whose path contains
 * `arg`, and of the C library. */
static int find_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    const char *const wanted[] = {arg, "/libc.so"};
    for (size_t i = 0; i < 2; i++) {
        if (strstr(info->dlpi_name, wanted[i]) == NULL) {
            continue;
        }
        for (int segment = 0; segment < info->dlpi_phnum; segment++) {
            const ElfW(Phdr) *header = &info->dlpi_phdr[segment];
            if (header->p_type == PT_LOAD && header->p_flags & PF_X) {
                const uintptr_t begin = info->dlpi_addr + header->p_vaddr;
                spared[i] = (struct range){begin, begin + header->p_memsz};
            }
        }
    }
    return 0;
}

void fault_spare(const char *library)
{
    dl_iterate_phdr(find_library, (void *)library);
    if (spared[0].begin == 0 || spared[1].begin == 0) {
        fprintf(stderr, "faults: no %s in this process\n", library);
        abort();
    }
}

static bool is_spared(const void *caller)
{
    const uintptr_t at = (uintptr_t)caller;
    return (at >= spared[0].begin && at < spared[0].end) ||
           (at >= spared[1].begin && at < spared[1].end);
}

/* Counts one call. True, with errno set, if it is the one that must fail. Calls from spared code
 * are not counted. */
static bool fails_now(enum fault kind, const void *caller)
{
    if (left[kind] == 0 || (kind == FAULT_MEMORY && is_spared(caller)) || --left[kind] > 0) {
        return false;
    }
    happened = true;
    atomic_fetch_add(&points, 1);
    errno = kind == FAULT_MEMORY ? ENOMEM : number_of_write;
    return true;
}

/* ---- Memory ---- */

#ifdef __SANITIZE_ADDRESS__
#define REAL(name, libc) __interceptor_##name
#else
#define REAL(name, libc) libc
#endif
void *REAL(malloc, __libc_malloc)(size_t size);
void *REAL(calloc, __libc_calloc)(size_t count, size_t size);
void *REAL(realloc, __libc_realloc)(void *memory, size_t size);
void *REAL(memalign, __libc_memalign)(size_t alignment, size_t size);

void *malloc(size_t size)
{
    return fails_now(FAULT_MEMORY, __builtin_return_address(0)) ? NULL
                                                                : REAL(malloc, __libc_malloc)(size);
}

void *calloc(size_t count, size_t size)
{
    return fails_now(FAULT_MEMORY, __builtin_return_address(0))
               ? NULL
               : REAL(calloc, __libc_calloc)(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails_now(FAULT_MEMORY, __builtin_return_address(0))
               ? NULL
               : REAL(realloc, __libc_realloc)(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails_now(FAULT_MEMORY, __builtin_return_address(0))
               ? NULL
               : REAL(memalign, __libc_memalign)(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *got = fails_now(FAULT_MEMORY, __builtin_return_address(0))
                    ? NULL
                    : REAL(memalign, __libc_memalign)(alignment, size);
    if (got == NULL) {
        return ENOMEM;
    }
    *memory = got;
    return 0;
}

/* ---- Writing ---- */

/* syscall() sets errno itself. */
#define CALL(...) (fails_now(FAULT_WRITE, NULL) ? -1 : syscall(__VA_ARGS__))

ssize_t write(int fd, const void *bytes, size_t size)
{
    return CALL(SYS_write, fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return CALL(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    return CALL(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return CALL(SYS_writev, fd, parts, n);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    return CALL(SYS_pwritev, fd, parts, n, offset, 0L);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset)
{
    return CALL(SYS_pwritev, fd, parts, n, offset, 0L);
}

int fsync(int fd)
{
    return (int)CALL(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return (int)CALL(SYS_fdatasync, fd);
}

int msync(void *start, size_t size, int flags)
{
    return (int)CALL(SYS_msync, start, size, flags);
}

int ftruncate(int fd, off_t size)
{
    return (int)CALL(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return (int)CALL(SYS_ftruncate, fd, size);
}

int rename(const char *from, const char *to)
{
    return (int)CALL(SYS_rename, from, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    return (int)CALL(SYS_renameat2, from_folder, from, to_folder, to, flags);
}
