/* Makes the file system below $ODD_FILES an odd one, for a process that this is preloaded into:
   times in steps of 2 seconds, no flock, no hard links, no rename from one folder to another. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int below(const char *path) {
    const char *root = getenv("ODD_FILES");
    char whole[PATH_MAX];
    if (!root || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        size_t used = strlen(whole);
        snprintf(whole + used, sizeof whole - used, "/%s", path);
        path = whole;
    }
    return strncmp(path, root, strlen(root)) == 0;
}

static int is_odd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

static void coarsen(struct stat *status) {
    status->st_mtim.tv_sec &= ~1L;
    status->st_mtim.tv_nsec = 0;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int stat(const char *path, struct stat *status) {
    REAL(stat);
    int result = real(path, status);
    if (result == 0 && below(path)) coarsen(status);
    return result;
}

int lstat(const char *path, struct stat *status) {
    REAL(lstat);
    int result = real(path, status);
    if (result == 0 && below(path)) coarsen(status);
    return result;
}

int fstat(int fd, struct stat *status) {
    REAL(fstat);
    int result = real(fd, status);
    if (result == 0 && is_odd(fd)) coarsen(status);
    return result;
}

int fstatat(int folder, const char *path, struct stat *status, int flags) {
    REAL(fstatat);
    int result = real(folder, path, status, flags);
    if (result == 0 && (folder == AT_FDCWD || path[0] == '/' ? below(path) : is_odd(folder)))
        coarsen(status);
    return result;
}

int stat64(const char *path, struct stat64 *status) { return stat(path, (struct stat *)status); }
int lstat64(const char *path, struct stat64 *status) { return lstat(path, (struct stat *)status); }
int fstat64(int fd, struct stat64 *status) { return fstat(fd, (struct stat *)status); }
int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    return fstatat(folder, path, (struct stat *)status, flags);
}

int flock(int fd, int operation) {
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    if (is_odd(fd)) {
        errno = ENOLCK;
        return -1;
    }
    return real(fd, operation);
}

int link(const char *from, const char *to) {
    REAL(link);
    if (below(from) || below(to)) {
        errno = EPERM;
        return -1;
    }
    return real(from, to);
}

int linkat(int folder, const char *from, int other, const char *to, int flags) {
    REAL(linkat);
    if (below(from) || below(to)) {
        errno = EPERM;
        return -1;
    }
    return real(folder, from, other, to, flags);
}

static int is_across(const char *from, const char *to) {
    const char *a = strrchr(from, '/'), *b = strrchr(to, '/');
    size_t first = a ? (size_t)(a - from) : 0, second = b ? (size_t)(b - to) : 0;
    if ((from[0] == '/') != (to[0] == '/')) return 0;
    return (below(from) || below(to)) && (first != second || strncmp(from, to, first) != 0);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (is_across(from, to)) {
        errno = EXDEV;
        return -1;
    }
    return real(from, to);
}

int renameat(int folder, const char *from, int other, const char *to) {
    REAL(renameat);
    if (folder == AT_FDCWD && other == AT_FDCWD) return rename(from, to);
    return real(folder, from, other, to);
}
