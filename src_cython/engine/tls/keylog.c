/* A file is opened when it is first named, and again when another one, or none, has its name: it may be rotated. */
#include "tls/keylog.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/mem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/environ.h"
#include "tls/reason.h"

struct nq_keylog {
  nq_keylog *next;
  int fd;   /* -1: not open now */
  int torn; /* Does it end within a line, of which the rest could not be written? */
  char path[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static nq_keylog *logs;

/* The path from the root, so that it means the same file wherever the process goes; NULL without memory or folder. */
static char *absolute(const char *path) {
  if (path[0] == '/')
    return strdup(path);
  char *folder = getcwd(NULL, 0);
  if (!folder)
    return NULL;
  size_t n = strlen(folder) + strlen(path) + 2;
  char *whole = malloc(n);
  if (whole)
    snprintf(whole, n, "%s/%s", folder, path);
  free(folder);
  return whole;
}

/* Opens the file unless it is open and still has its name. 0, or an errno. A FIFO that nobody reads is no error: it is
 * tried again with each line, and opening it never waits. */
static int refresh(nq_keylog *k) {
  struct stat named, open_one;
  int there = stat(k->path, &named) == 0;
  if (k->fd >= 0) {
    if (there && fstat(k->fd, &open_one) == 0 && named.st_dev == open_one.st_dev && named.st_ino == open_one.st_ino)
      return 0;
    close(k->fd);
    k->fd = -1;
    k->torn = 0;
  }
  k->fd = open(k->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
  if (k->fd >= 0 || (errno == ENXIO && there && S_ISFIFO(named.st_mode)))
    return 0;
  return errno;
}

/* The log of this path, which is made when there is none; NULL without memory. */
static nq_keylog *find(const char *path) {
  for (nq_keylog *k = logs; k; k = k->next)
    if (strcmp(k->path, path) == 0)
      return k;
  size_t n = strlen(path) + 1;
  nq_keylog *k = malloc(sizeof *k + n);
  if (!k)
    return NULL;
  k->fd = -1;
  k->torn = 0;
  memcpy(k->path, path, n);
  k->next = logs;
  logs = k;
  return k;
}

int nq_keylog_open(const nq_keylog **out, const char *path, char *err, size_t errlen) {
  const char *from = "";
  *out = NULL;
  if (!path) {
    path = nq_environ_get("SSLKEYLOGFILE");
    from = " (named by SSLKEYLOGFILE)";
  }
  if (!path || !path[0])
    return 0;
  char *whole = absolute(path);
  if (!whole && errno != ENOMEM)
    return nq_reason_fail(err, errlen, "cannot open the key log '%s'%s: %s; name it from the root", path, from,
                          strerror(errno));
  pthread_mutex_lock(&lock);
  nq_keylog *k = whole ? find(whole) : NULL;
  int e = k ? refresh(k) : ENOMEM;
  pthread_mutex_unlock(&lock);
  free(whole);
  if (!e) {
    *out = k;
    return 0;
  }
  if (nq_reason_is_lack(e))
    return nq_reason_lack(err, errlen, e, "the key log");
  return nq_reason_fail(err, errlen, "cannot open the key log '%s'%s: %s; name a file that can be written", path, from,
                        strerror(e));
}

/* All of it, or what there is room for: a disk may be full, and who reads a FIFO slow or gone. */
static void put(nq_keylog *k, const char *line, size_t n) {
  size_t done = 0;
  while (done < n) {
    ssize_t w = write(k->fd, line + done, n - done);
    if (w < 0 && errno == EINTR)
      continue;
    if (w <= 0)
      break;
    done += (size_t)w;
  }
  if (done)
    k->torn = done < n;
  if (done < n && errno == EPIPE) {
    close(k->fd);
    k->fd = -1;
    k->torn = 0;
  }
}

void nq_keylog_write(const nq_keylog *log, const char *line) {
  char buf[512]; /* the longest line has a label of 31, a random of 64 and a secret of 96 digits */
  size_t n = strlen(line);
  if (n >= sizeof buf - 1)
    return;
  pthread_mutex_lock(&lock);
  nq_keylog *k = logs;
  while (k && k != log)
    k = k->next;
  if (k && refresh(k) == 0 && k->fd >= 0) {
    size_t at = k->torn ? 1u : 0u; /* what is left of the last line stays a line of its own */
    buf[0] = '\n';
    memcpy(buf + at, line, n);
    buf[at + n] = '\n';
    put(k, buf, at + n + 1);
  }
  pthread_mutex_unlock(&lock);
  OPENSSL_cleanse(buf, sizeof buf);
}
