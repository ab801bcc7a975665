#include "tls/roots.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls/files.h"
#include "tls/load.h"
#include "tls/places.h"
#include "tls/reason.h"

/* ---- trust anchors ---- */

static int add_anchors(X509_STORE *store, const nq_tls_blob *b, const nq_tls_options *o, char *err, size_t errlen) {
  nq_load_source s;
  int rv = nq_load_open(&s, b, "CA", err, errlen);
  if (rv)
    return rv;
  STACK_OF(X509) *certs = NULL;
  rv = nq_load_certificates(&certs, &s, o, err, errlen);
  for (size_t i = 0; !rv && i < sk_X509_num(certs); i++)
    if (X509_STORE_add_cert(store, sk_X509_value(certs, i)) != 1)
      rv = nq_reason_fail(err, errlen, "certificate %zu of %s cannot be trusted: %s", i + 1, s.name, nq_reason_text());
  sk_X509_pop_free(certs, X509_free);
  nq_load_close(&s);
  return rv;
}

/* Whether a name is one that OpenSSL looks certificates up by: eight digits of a hash, a dot and a number. */
static int is_hashed(const char *name) {
  size_t n = strspn(name, "0123456789abcdef");
  return n == 8 && name[8] == '.' && name[9] && strspn(name + 9, "0123456789") == strlen(name + 9);
}

/* Every file of the directory that holds certificates, or those with a hash for a name alone. *n counts them. What
 * cannot be read or is no certificate is passed over, but not for want of memory or descriptors: roots would be missing
 * as long as the process lives. 0, EACCES and the like when the directory cannot be read, or as nq_reason_lack with
 * *lack set. */
static int add_dir(X509_STORE *store, const char *dir, int hashed, const nq_tls_options *o, size_t *n, int *lack,
                   char *err, size_t errlen) {
  DIR *d = opendir(dir);
  char path[4096];
  if (!d && nq_reason_is_lack(errno)) {
    *lack = 1;
    return nq_reason_lack(err, errlen, errno, "the directory of trusted roots");
  }
  if (!d)
    return errno;
  int rv = 0;
  for (struct dirent *e; rv <= 0 && (e = readdir(d));) {
    if (e->d_name[0] == '.' || (hashed && !is_hashed(e->d_name)) ||
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path)
      continue;
    nq_tls_blob b = {path, NULL, 0};
    rv = add_anchors(store, &b, o, err, errlen);
    *n += rv == 0;
  }
  closedir(d);
  *lack = rv > 0;
  return rv > 0 ? rv : 0;
}

static int load_dir(X509_STORE *store, const nq_tls_options *o, char *err, size_t errlen) {
  size_t n = 0;
  int lack = 0, rv = add_dir(store, o->ca.path, 0, o, &n, &lack, err, errlen);
  if (lack)
    return rv;
  if (rv)
    return nq_reason_fail(err, errlen, "cannot read CA directory '%s': %s; check the path and its permissions",
                          o->ca.path, strerror(rv));
  if (!n)
    return nq_reason_fail(err, errlen, "CA directory '%s' holds no certificate; give PEM or DER files in it",
                          o->ca.path);
  if (errlen)
    err[0] = 0; /* of what was passed over */
  ERR_clear_error();
  return 0;
}

int nq_roots_load(X509_STORE **out, const nq_tls_options *o, char *err, size_t errlen) {
  struct stat st;
  X509_STORE *store = X509_STORE_new();
  if (!store)
    return nq_reason_lack(err, errlen, ENOMEM, "the trust anchors");
  /* Whatever was given is trusted, be it a root, an intermediate or the peer's own certificate. */
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  int rv = !o->ca.data && stat(o->ca.path, &st) == 0 && S_ISDIR(st.st_mode)
               ? load_dir(store, o, err, errlen)
               : add_anchors(store, &o->ca, o, err, errlen);
  if (rv)
    X509_STORE_free(store);
  else
    *out = store;
  return rv;
}

/* ---- the system's roots ---- */

static pthread_mutex_t roots_lock = PTHREAD_MUTEX_INITIALIZER;
static X509_STORE *roots;                 /* holds a reference */
static nq_files_state roots_state;        /* of what roots was made from */
static char roots_missing[NQ_FILES_SAID]; /* of what was named then and could not be read */

typedef struct reading {
  X509_STORE *store;
  const nq_places *p;
  size_t n; /* places that gave certificates */
  char *missing, *err;
  size_t cap, errlen;
} reading;

static int read_dir(void *u, const char *dir) {
  reading *r = u;
  nq_tls_options none = {0};
  size_t n = 0;
  int lack = 0, rv = add_dir(r->store, dir, !r->p->own_dir, &none, &n, &lack, r->err, r->errlen);
  if (!n && !lack && !r->p->own_dir)
    rv = add_dir(r->store, dir, 0, &none, &n, &lack, r->err, r->errlen);
  if (lack)
    return rv;
  r->n += n > 0;
  if (!n && r->p->own_dir && r->cap && !r->missing[0])
    snprintf(r->missing, r->cap, "SSL_CERT_DIR names '%s', which %s", dir,
             rv ? "cannot be read" : "holds no certificate");
  return 0;
}

static int read_file(reading *r) {
  nq_tls_blob b = {r->p->file, NULL, 0};
  nq_tls_options none = {0};
  int rv = add_anchors(r->store, &b, &none, r->err, r->errlen);
  r->n += rv == 0;
  if (rv < 0 && r->p->own_file && r->cap)
    snprintf(r->missing, r->cap, "SSL_CERT_FILE names '%s', which cannot be used", r->p->file);
  return rv > 0 ? rv : 0;
}

static int read_roots(reading *r) {
  int rv = r->p->file ? read_file(r) : 0;
  if (!rv && r->p->dir)
    rv = nq_places_dirs(r->p, read_dir, r);
  ERR_clear_error();
  if (!rv && !r->n) {
    char why[NQ_FILES_SAID + 8] = "";
    if (r->missing[0])
      snprintf(why, sizeof why, ": %s", r->missing);
    rv = nq_reason_fail(r->err, r->errlen,
                        "no trusted roots found on this system%s; install its CA certificates package, set "
                        "SSL_CERT_FILE or SSL_CERT_DIR, or give ca",
                        why);
  } else if (!rv && r->errlen) {
    r->err[0] = 0; /* of what was passed over */
  }
  return rv;
}

/* Reads the roots into a store of its own. Called with the lock held. */
static int renew(const nq_files_state *state, char *err, size_t errlen) {
  nq_places p;
  char missing[sizeof roots_missing] = "";
  nq_places_find(&p);
  reading r = {X509_STORE_new(), &p, 0, missing, err, sizeof missing, errlen};
  if (!r.store)
    return nq_reason_lack(err, errlen, ENOMEM, "the system's trusted roots");
  int rv = read_roots(&r);
  if (rv) {
    X509_STORE_free(r.store);
    return rv;
  }
  X509_STORE_free(roots);
  roots = r.store;
  roots_state = *state;
  memcpy(roots_missing, missing, sizeof missing);
  return 0;
}

int nq_roots_system(X509_STORE **out, char *missing, size_t cap, char *err, size_t errlen) {
  static const nq_tls_options client = {0};
  nq_files_state state;
  pthread_mutex_lock(&roots_lock);
  nq_files_look(&state, &client);
  int rv = 0;
  if (!roots || !roots_state.settled || memcmp(state.sum, roots_state.sum, sizeof state.sum) != 0)
    rv = renew(&state, err, errlen);
  if (!rv) {
    *out = roots;
    X509_STORE_up_ref(roots);
    snprintf(missing, cap, "%s", roots_missing);
  }
  pthread_mutex_unlock(&roots_lock);
  return rv;
}
