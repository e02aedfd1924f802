/* Preloaded into the program under torture: fails the chosen calls of one kind, counts the calls of
 * every kind, and keeps count of allocations that are not freed. Owns nothing; what to fail and all
 * counts are in the file that TORTURE_CONTROL names, shared with control.py.
 *
 * Calls of the kernel are made by syscall(), allocations go to glibc's own entry points: no symbol
 * has to be looked up before the first of them. Names that are reserved are given as assembler
 * names. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* In the order of control.py's KINDS. */
enum kind {
    KIND_ALLOC,
    KIND_READ,
    KIND_WRITE,
    KIND_SEND,
    KIND_RECV,
    KIND_ACCEPT,
    KIND_CONNECT,
    KIND_EPOLL_CTL,
    KIND_EPOLL_WAIT,
    KIND_EPOLL_CREATE,
    KIND_EVENTFD,
    KIND_SOCKET,
    KIND_OPEN,
    KIND_THREAD,
    KIND_COUNT
};

/* Shape: all fields of 64 bits, in this order. Owner: the driver. */
struct control {
    _Atomic uint64_t armed; /* 0: nothing is counted nor fails */
    _Atomic uint64_t kind;
    _Atomic uint64_t first; /* the number of the first call that fails, from 1; 0: none */
    _Atomic uint64_t count; /* how many fail from there on */
    _Atomic uint64_t error; /* errno that they fail with */
    _Atomic uint64_t trace; /* 1: the first that fails prints where it is */
    _Atomic uint64_t injected;
    _Atomic int64_t live; /* allocations not freed, made by the program itself */
    _Atomic int64_t kept; /* the same, made inside of libraries */
    _Atomic uint64_t calls[KIND_COUNT];
};

static struct control unused;
static struct control *control = &unused;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("TORTURE_CONTROL");
    int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *shared = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)syscall(SYS_close, fd);
    if (shared != MAP_FAILED) {
        control = shared;
    }
}

static void print_trace(void)
{
    void *frames[32];
    atomic_store(&control->armed, 0); /* what follows allocates */
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    atomic_store(&control->armed, 1);
}

/* Count a call; true, with errno set, when it is one that fails. */
static bool fails(enum kind kind)
{
    if (atomic_load_explicit(&control->armed, memory_order_relaxed) == 0) {
        return false;
    }
    uint64_t number = atomic_fetch_add(&control->calls[kind], 1) + 1;
    uint64_t first = atomic_load_explicit(&control->first, memory_order_relaxed);
    if (kind != (enum kind)atomic_load_explicit(&control->kind, memory_order_relaxed) ||
        first == 0 || number < first ||
        number - first >= atomic_load_explicit(&control->count, memory_order_relaxed)) {
        return false;
    }
    if (atomic_fetch_add(&control->injected, 1) == 0 && atomic_load(&control->trace) != 0) {
        print_trace();
    }
    errno = (int)atomic_load_explicit(&control->error, memory_order_relaxed);
    return true;
}

/* -- Allocations ------------------------------------------------------------------------------ */

void *real_malloc(size_t bytes) __asm__("__libc_malloc");
void *real_realloc(void *memory, size_t bytes) __asm__("__libc_realloc");
void *real_memalign(size_t alignment, size_t bytes) __asm__("__libc_memalign");
void real_free(void *memory) __asm__("__libc_free");

/* In front of each allocation. */
struct header {
    void *base; /* as glibc gave it */
    _Atomic int64_t *counter;
};

/* Whether an address is in the program's own code. */
static bool is_programs(const void *address)
{
    static uintptr_t start, end;
    if (end == 0) {
        const ElfW(Phdr) *header = (const void *)getauxval(AT_PHDR);
        uintptr_t base = (uintptr_t)header - header[0].p_vaddr; /* PT_PHDR stands first */
        for (size_t i = 0; i < getauxval(AT_PHNUM); i++) {
            if (header[i].p_type == PT_LOAD && (header[i].p_flags & PF_X) != 0) {
                start = base + header[i].p_vaddr;
                end = start + header[i].p_memsz;
            }
        }
    }
    return (uintptr_t)address >= start && (uintptr_t)address < end;
}

static void *counted(void *base, size_t offset, const void *caller)
{
    if (base == NULL) {
        return NULL;
    }
    char *memory = (char *)base + offset;
    struct header *header = (struct header *)(void *)(memory - sizeof(*header));
    header->base = base;
    header->counter = is_programs(caller) ? &control->live : &control->kept;
    atomic_fetch_add_explicit(header->counter, 1, memory_order_relaxed);
    return memory;
}

static void *take(size_t alignment, size_t bytes, const void *caller)
{
    size_t offset = alignment > sizeof(struct header) ? alignment : sizeof(struct header);
    if (fails(KIND_ALLOC) || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    return counted(alignment == 0 ? real_malloc(bytes + offset)
                                  : real_memalign(alignment, bytes + offset),
                   offset, caller);
}

static void give(void *memory)
{
    if (memory != NULL) {
        struct header *header = (struct header *)memory - 1;
        atomic_fetch_sub_explicit(header->counter, 1, memory_order_relaxed);
        real_free(header->base);
    }
}

void *malloc(size_t bytes)
{
    return take(0, bytes, __builtin_return_address(0));
}

void *calloc(size_t count, size_t bytes)
{
    size_t size;
    if (__builtin_mul_overflow(count, bytes, &size)) {
        return NULL;
    }
    void *memory = take(0, size, __builtin_return_address(0));
    return memory == NULL ? NULL : memset(memory, 0, size);
}

void free(void *memory)
{
    give(memory);
}

void *realloc(void *memory, size_t bytes)
{
    if (memory == NULL) {
        return take(0, bytes, __builtin_return_address(0));
    }
    if (bytes == 0) {
        give(memory);
        return NULL;
    }
    struct header *header = (struct header *)memory - 1;
    size_t offset = (size_t)((char *)memory - (char *)header->base);
    if (fails(KIND_ALLOC)) {
        return NULL;
    }
    char *base = real_realloc(header->base, bytes + offset);
    if (base == NULL) {
        return NULL;
    }
    header = (struct header *)(void *)(base + offset) - 1;
    header->base = base;
    return base + offset;
}

void *memalign(size_t alignment, size_t bytes);

void *memalign(size_t alignment, size_t bytes)
{
    return take(alignment, bytes, __builtin_return_address(0));
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return take(alignment, bytes, __builtin_return_address(0));
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    void *made = take(alignment, bytes, __builtin_return_address(0));
    if (made == NULL) {
        return ENOMEM;
    }
    *memory = made;
    return 0;
}

/* -- Bytes ------------------------------------------------------------------------------------ */

ssize_t read(int fd, void *data, size_t bytes)
{
    return fails(KIND_READ) ? -1 : syscall(SYS_read, fd, data, bytes);
}

ssize_t checked_read(int fd, void *data, size_t bytes, size_t room) __asm__("__read_chk");

ssize_t checked_read(int fd, void *data, size_t bytes, size_t room)
{
    return bytes > room ? (abort(), -1) : read(fd, data, bytes);
}

/* Eight bytes are those of an eventfd, which fails only when it is full, and then it wakes too. */
ssize_t write(int fd, const void *data, size_t bytes)
{
    bool can_fail = fd <= STDERR_FILENO || bytes != sizeof(uint64_t);
    return can_fail && fails(KIND_WRITE) ? -1 : syscall(SYS_write, fd, data, bytes);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags)
{
    return fails(KIND_SEND) ? -1 : syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

/* glibc declares these with a union that ISO C does not know. */
ssize_t send_to(int fd, const void *data, size_t bytes, int flags, const struct sockaddr *address,
                socklen_t address_bytes) __asm__("sendto");
int accept_from(int fd, struct sockaddr *address, socklen_t *address_bytes,
                int flags) __asm__("accept4");
int connect_to(int fd, const struct sockaddr *address, socklen_t address_bytes) __asm__("connect");

ssize_t send_to(int fd, const void *data, size_t bytes, int flags, const struct sockaddr *address,
                socklen_t address_bytes)
{
    return fails(KIND_SEND) ? -1
                            : syscall(SYS_sendto, fd, data, bytes, flags, address, address_bytes);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (fails(KIND_SEND)) {
        return -1;
    }
    return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    if (fails(KIND_SEND)) {
        return -1;
    }
    return syscall(SYS_writev, fd, pieces, count);
}

ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
    return fails(KIND_RECV) ? -1 : syscall(SYS_recvfrom, fd, data, bytes, flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return fails(KIND_RECV) ? -1 : syscall(SYS_recvmsg, fd, message, flags);
}

ssize_t checked_recv(int fd, void *data, size_t bytes, size_t room,
                     int flags) __asm__("__recv_chk");

ssize_t checked_recv(int fd, void *data, size_t bytes, size_t room, int flags)
{
    return bytes > room ? (abort(), -1) : recv(fd, data, bytes, flags);
}

/* -- Descriptors ------------------------------------------------------------------------------ */

int accept_from(int fd, struct sockaddr *address, socklen_t *address_bytes, int flags)
{
    return fails(KIND_ACCEPT) ? -1 : (int)syscall(SYS_accept4, fd, address, address_bytes, flags);
}

int connect_to(int fd, const struct sockaddr *address, socklen_t address_bytes)
{
    return fails(KIND_CONNECT) ? -1 : (int)syscall(SYS_connect, fd, address, address_bytes);
}

int socket(int domain, int type, int protocol)
{
    return fails(KIND_SOCKET) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
    return fails(KIND_SOCKET) ? -1 : (int)syscall(SYS_socketpair, domain, type, protocol, fds);
}

/* What takes no memory does not fail for want of it: taking a descriptor out succeeds. */
int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    return operation != EPOLL_CTL_DEL && fails(KIND_EPOLL_CTL)
               ? -1
               : (int)syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event);
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int count, int timeout_ms)
{
    return fails(KIND_EPOLL_WAIT)
               ? -1
               : (int)syscall(SYS_epoll_wait, epoll_fd, events, count, timeout_ms);
}

int epoll_create1(int flags)
{
    return fails(KIND_EPOLL_CREATE) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

int epoll_create(int size)
{
    (void)size;
    return epoll_create1(0);
}

int eventfd(unsigned count, int flags)
{
    return fails(KIND_EVENTFD) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

int open_at(int folder, const char *path, int flags, ...) __asm__("openat");
int open_at64(int folder, const char *path, int flags, ...) __asm__("openat64");
int open_here(const char *path, int flags, ...) __asm__("open");
int open_here64(const char *path, int flags, ...) __asm__("open64");

static int open_file(int folder, const char *path, int flags, va_list arguments)
{
    unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0;
    return fails(KIND_OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN_BODY(folder)                                 \
    va_list arguments;                                    \
    va_start(arguments, flags);                           \
    int fd = open_file((folder), path, flags, arguments); \
    va_end(arguments);                                    \
    return fd

int open_at(int folder, const char *path, int flags, ...)
{
    OPEN_BODY(folder);
}

int open_at64(int folder, const char *path, int flags, ...)
{
    OPEN_BODY(folder);
}

int open_here(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int open_here64(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

/* glibc opens files of its own accord below these names, so they count by themselves. */
typedef FILE *open_stream(const char *path, const char *mode);

static FILE *open_stream_by(const char *name, const char *path, const char *mode)
{
    if (fails(KIND_OPEN)) {
        return NULL;
    }
    void *symbol = dlsym(RTLD_NEXT, name);
    open_stream *real;
    memcpy(&real, &symbol, sizeof(real));
    return real(path, mode);
}

FILE *stream_open(const char *path, const char *mode) __asm__("fopen");
FILE *stream_open64(const char *path, const char *mode) __asm__("fopen64");

FILE *stream_open(const char *path, const char *mode)
{
    return open_stream_by("fopen", path, mode);
}

FILE *stream_open64(const char *path, const char *mode)
{
    return open_stream_by("fopen64", path, mode);
}

/* -- Threads ---------------------------------------------------------------------------------- */

typedef int create_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *arg)
{
    if (fails(KIND_THREAD)) {
        return EAGAIN;
    }
    void *symbol = dlsym(RTLD_NEXT, "pthread_create");
    create_thread *real;
    memcpy(&real, &symbol, sizeof(real));
    return real(thread, attributes, run, arg);
}
