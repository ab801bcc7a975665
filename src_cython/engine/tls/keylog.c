/* A file is opened once per process and stays open. */
#include "tls/keylog.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/mem.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/environ.h"
#include "tls/reason.h"

struct nq_keylog {
  nq_keylog *next;
  int fd;
  char path[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static nq_keylog *logs;

int nq_keylog_open(const nq_keylog **out, const char *path, char *err, size_t errlen) {
  const char *from = "";
  *out = NULL;
  if (!path) {
    path = nq_environ_get("SSLKEYLOGFILE");
    from = " (named by SSLKEYLOGFILE)";
  }
  if (!path || !path[0])
    return 0;
  pthread_mutex_lock(&lock);
  nq_keylog *k = logs;
  while (k && strcmp(k->path, path) != 0)
    k = k->next;
  int rv = 0;
  if (!k) {
    size_t n = strlen(path) + 1;
    k = malloc(sizeof *k + n);
    if (!k) {
      rv = nq_reason_lack(err, errlen, ENOMEM, "the key log");
    } else {
      k->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
      if (k->fd < 0) {
        int e = errno;
        rv = nq_reason_is_lack(e)
                 ? nq_reason_lack(err, errlen, e, "the key log")
                 : nq_reason_fail(err, errlen, "cannot open the key log '%s'%s: %s; name a file that can be written",
                                  path, from, strerror(e));
        free(k);
        k = NULL;
      } else {
        memcpy(k->path, path, n);
        k->next = logs;
        logs = k;
      }
    }
  }
  pthread_mutex_unlock(&lock);
  *out = k;
  return rv;
}

void nq_keylog_write(const nq_keylog *k, const char *line) {
  char buf[512]; /* the longest line has a label of 31, a random of 64 and a secret of 96 digits */
  size_t n = strlen(line);
  if (n >= sizeof buf)
    return;
  memcpy(buf, line, n);
  buf[n++] = '\n';
  ssize_t w;
  do
    w = write(k->fd, buf, n);
  while (w < 0 && errno == EINTR);
  OPENSSL_cleanse(buf, n);
}
