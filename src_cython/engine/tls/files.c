#include "tls/files.h"

#include <dirent.h>
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tls/places.h"

#ifdef __APPLE__
#define st_mtim st_mtimespec
#define st_ctim st_ctimespec
#endif

/* The clock of file times ticks coarsely, every 10 ms at most on the systems we know: a file that was changed twice
 * within a tick looks the same. */
#define UNSETTLED 50000000 /* ns */

typedef struct looking {
  SHA256_CTX sum;
  struct timespec now;
  int settled;
} looking;

static void add(looking *k, const void *p, size_t n) { SHA256_Update(&k->sum, p, n); }

static int is_young(const struct timespec *t, const struct timespec *now) {
  int64_t age = ((int64_t)now->tv_sec - t->tv_sec) * 1000000000 + (now->tv_nsec - t->tv_nsec);
  return age > -UNSETTLED && age < UNSETTLED;
}

/* A file's state, and 1 when it is a directory. */
static int add_file(looking *k, const char *path) {
  struct stat st;
  add(k, path, strlen(path) + 1);
  if (stat(path, &st) || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
    return 0;
  const int64_t what[] = {(int64_t)st.st_dev,         (int64_t)st.st_ino,          (int64_t)st.st_size,
                          (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec, (int64_t)st.st_ctim.tv_sec,
                          (int64_t)st.st_ctim.tv_nsec};
  add(k, what, sizeof what);
  k->settled &= !is_young(&st.st_ctim, &k->now) && !is_young(&st.st_mtim, &k->now);
  return S_ISDIR(st.st_mode);
}

static void add_path(looking *k, const char *path) {
  char file[4096];
  DIR *d = path && path[0] && add_file(k, path) ? opendir(path) : NULL;
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.' && snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file)
      add_file(k, file);
  if (d)
    closedir(d);
}

static int add_root_dir(void *k, const char *dir) {
  add_path(k, dir);
  return 0;
}

void nq_files_look(nq_files_state *s, const nq_tls_options *o) {
  looking k = {.settled = 1};
  clock_gettime(CLOCK_REALTIME, &k.now);
  SHA256_Init(&k.sum);
  const nq_tls_blob *all[] = {&o->cert, &o->key, &o->ca};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!all[i]->data)
      add_path(&k, all[i]->path);
  if (nq_files_use_roots(o)) {
    nq_places p;
    nq_places_find(&p);
    add_path(&k, p.file);
    nq_places_dirs(&p, add_root_dir, &k);
  }
  SHA256_Final(s->sum, &k.sum);
  s->settled = k.settled;
}

/* Whether a path can be read again: a pipe cannot. */
static int is_once(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

int nq_files_any(const nq_tls_options *o) {
  const nq_tls_blob *all[] = {&o->cert, &o->key, &o->ca};
  int any = nq_files_use_roots(o);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!all[i]->data && all[i]->path && all[i]->path[0]) {
      if (is_once(all[i]->path))
        return 0;
      any = 1;
    }
  return any;
}

/* ---- copies ---- */

/* A copy of n bytes with a NUL after them, NULL for NULL; *ok becomes 0 when there is no memory. */
static void *copy(const void *p, size_t n, int *ok) {
  char *c = p ? malloc(n + 1) : NULL;
  if (c) {
    memcpy(c, p, n);
    c[n] = 0;
  }
  *ok &= !p || c;
  return c;
}

static void copy_text(const char **s, int *ok) { *s = copy(*s, *s ? strlen(*s) : 0, ok); }

static void copy_blob(nq_tls_blob *b, int *ok) {
  b->data = copy(b->data, b->len, ok);
  copy_text(&b->path, ok);
}

nq_tls_options *nq_files_copy(const nq_tls_options *o) {
  nq_tls_options *c = malloc(sizeof *c);
  int ok = 1;
  if (!c)
    return NULL;
  *c = *o;
  copy_blob(&c->cert, &ok);
  copy_blob(&c->key, &ok);
  copy_blob(&c->ca, &ok);
  c->password = copy(c->password, c->password_len, &ok);
  c->alpn = copy(c->alpn, c->alpn_len, &ok);
  copy_text(&c->groups, &ok);
  copy_text(&c->ciphersuites, &ok);
  copy_text(&c->keylog_path, &ok);
  if (!ok) {
    nq_files_free(c);
    return NULL;
  }
  return c;
}

static void drop(const void *p, size_t secret) {
  void *own = (void *)(uintptr_t)p;
  if (own && secret)
    OPENSSL_cleanse(own, secret);
  free(own);
}

void nq_files_free(nq_tls_options *o) {
  if (!o)
    return;
  nq_tls_blob *all[] = {&o->cert, &o->key, &o->ca}; /* a key may be in the first, too */
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    drop(all[i]->data, all[i]->len);
    drop(all[i]->path, 0);
  }
  drop(o->password, o->password_len);
  drop(o->alpn, 0);
  drop(o->groups, 0);
  drop(o->ciphersuites, 0);
  drop(o->keylog_path, 0);
  free(o);
}
