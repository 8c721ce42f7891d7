/*
 * Preloaded into an edge: the wall clock is as many seconds ahead as the file says that CLOCK_OFFSET_FILE names, and may
 * change at any moment. Nothing else changes. libfaketime would do the same, but hangs where the allocator asks for the
 * time, as Envoy's does; this allocates nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *offset_file;

__attribute__((constructor)) static void find_offset_file(void) { offset_file = getenv("CLOCK_OFFSET_FILE"); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  long result = syscall(SYS_clock_gettime, clock, now);
  if (result != 0 || clock != CLOCK_REALTIME || offset_file == NULL) return (int)result;
  char seconds[16] = {0};
  long file = syscall(SYS_openat, AT_FDCWD, offset_file, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  if (syscall(SYS_read, file, seconds, sizeof seconds - 1) > 0) now->tv_sec += atol(seconds);
  syscall(SYS_close, file);
  return 0;
}
