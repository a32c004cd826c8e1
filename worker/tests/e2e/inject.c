/* Fails system calls of the worker as a file says: "open 28", "write 5", "sync 5" or "fork 11", with the
 * number of the error. Files count only below the state directory. With "slow 0", each sync takes a while, and
 * makes the file a byte longer. The wall clock is ahead by as many seconds as the file says that CLOCK names.
 * Loaded with LD_PRELOAD. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* The error that this operation is to fail with, or 0. */
static int wanted(const char *operation) {
    const char *path = getenv("INJECT");
    if (!path) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[64] = {0};
    ssize_t length = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    size_t name = strlen(operation);
    if (length <= 0 || strncmp(text, operation, name) != 0 || text[name] != ' ') return 0;
    return atoi(text + name);
}

static int is_state(const char *path) {
    const char *state = getenv("INJECT_BELOW");
    return state && strncmp(path, state, strlen(state)) == 0;
}

static int fails(int error) {
    if (error) errno = error;
    return error != 0;
}

static int file_fails(const char *operation, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_state(path) && fails(wanted(operation));
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int open_as(const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) && is_state(path) && fails(wanted("open"))) return -1;
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, int);
    va_end(list);
    return open_as(path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, int);
    va_end(list);
    return open_as(path, flags, mode);
}

ssize_t write(int file, const void *from, size_t length) {
    if (file > 2 && file_fails("write", file)) return -1;
    return syscall(SYS_write, file, from, length);
}

static int sync_as(long call, int file) {
    if (file_fails("sync", file)) return -1;
    char text[8] = {0};
    const char *path = getenv("INJECT");
    int note = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_APPEND | O_CLOEXEC) : -1;
    if (note >= 0 && syscall(SYS_read, note, text, 6) == 6 && strcmp(text, "slow 0") == 0) {
        syscall(SYS_write, note, "s", 1);
        usleep(100 * 1000);
    }
    if (note >= 0) syscall(SYS_close, note);
    return syscall(call, file);
}

int fdatasync(int file) {
    return sync_as(SYS_fdatasync, file);
}

int fsync(int file) {
    return sync_as(SYS_fsync, file);
}

pid_t fork(void) {
    return fails(wanted("fork")) ? -1 : NEXT(fork)();
}

/* With these arguments alone, as a keeper calls it. */
int clone(int (*run)(void *), void *stack, int flags, void *argument, ...) {
    return fails(wanted("fork")) ? -1 : NEXT(clone)(run, stack, flags, argument);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]) {
    int error = wanted("fork");
    if (error) return error;
    return NEXT(posix_spawnp)(pid, file, actions, attributes, arguments, environment);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("CLOCK");
    if (result != 0 || clock != CLOCK_REALTIME || !path) return result;
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return result;
    char text[64] = {0};
    if (syscall(SYS_read, file, text, sizeof text - 1) > 0) time->tv_sec += atoll(text);
    syscall(SYS_close, file);
    return result;
}
