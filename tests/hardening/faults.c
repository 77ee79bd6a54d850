/* Makes the system calls that write files fail, by LD_PRELOAD: those that concern what lies in one folder. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define LOG 65536
/* What happens instead of the call; any other number is the error that it gives. */
enum { SHORT = -1, KILL = -2 };

static char folder[4096];
static long seen, nth;
static int fault, onwards;
static char record[LOG];
static size_t used;

/* From now on the nth call (from 0; none where it is below 0), or all from there, fail with `how`. */
void faults_arm(const char *where, long which, int how, int all) {
  snprintf(folder, sizeof folder, "%s", where);
  seen = 0, nth = which, fault = how, onwards = all;
  used = 0, record[0] = 0;
}

void faults_disarm(void) { folder[0] = 0; }

/* The calls since, one a line: its name, and the file or, for a rename, both. */
const char *faults_record(void) { return record; }

static int within(const char *path) {
  size_t length = strlen(folder);
  return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether the call is to fail: with what. */
static int fails(const char *name, const char *path, const char *other) {
  if (!within(path)) return 0;
  int length = snprintf(record + used, LOG - used, "%s %s %s\n", name, path + strlen(folder), other);
  if (length > 0 && used + (size_t)length < LOG) used += (size_t)length;
  long number = seen++;
  if (nth < 0 || number < nth || (number > nth && !onwards)) return 0;
  if (fault == KILL) kill(getpid(), SIGKILL);
  return fault;
}

static int descriptor_fails(const char *name, int handle) {
  char link[64], path[4096];
  if (!folder[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(name, path, "");
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
/* Only a write can be short. */
#define FAIL_IF(how)          \
  do {                        \
    int found = (how);        \
    if (found && found != SHORT) { \
      errno = found;          \
      return -1;              \
    }                         \
  } while (0)

#define OPEN(name)                                                                     \
  int name(const char *path, int flags, ...) {                                         \
    va_list rest;                                                                      \
    va_start(rest, flags);                                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;            \
    va_end(rest);                                                                      \
    if ((flags & O_ACCMODE) != O_RDONLY) FAIL_IF(fails("open", path, ""));              \
    return NEXT(name)(path, flags, mode);                                              \
  }
OPEN(open)
OPEN(open64)

#define WRITE(name, parameters, arguments)                     \
  ssize_t name parameters {                                    \
    int how = descriptor_fails("write", handle);               \
    if (how == SHORT) size = size > 1 ? size / 2 : size;       \
    FAIL_IF(how);                                              \
    return NEXT(name) arguments;                               \
  }
WRITE(write, (int handle, const void *data, size_t size), (handle, data, size))
WRITE(pwrite, (int handle, const void *data, size_t size, off_t at), (handle, data, size, at))
WRITE(pwrite64, (int handle, const void *data, size_t size, off64_t at), (handle, data, size, at))

int fsync(int handle) {
  FAIL_IF(descriptor_fails("fsync", handle));
  return NEXT(fsync)(handle);
}

/* A file is closed whether or not closing it fails. What was only read is not of interest. */
int close(int handle) {
  int flags = folder[0] ? fcntl(handle, F_GETFL) : -1;
  int how = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY ? descriptor_fails("close", handle) : 0;
  int done = NEXT(close)(handle);
  FAIL_IF(how);
  return done;
}

int rename(const char *from, const char *to) {
  FAIL_IF(fails("rename", from, to));
  return NEXT(rename)(from, to);
}

int unlink(const char *path) {
  FAIL_IF(fails("unlink", path, ""));
  return NEXT(unlink)(path);
}

int chmod(const char *path, mode_t mode) {
  FAIL_IF(fails("chmod", path, ""));
  return NEXT(chmod)(path, mode);
}
