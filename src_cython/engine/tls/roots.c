#include "tls/roots.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/environ.h"
#include "tls/load.h"
#include "tls/reason.h"

/* ---- trust anchors ---- */

static int add_anchors(X509_STORE *store, const nq_tls_blob *b, char *err, size_t errlen) {
  nq_load_source s;
  int rv = nq_load_open(&s, b, "CA", err, errlen);
  if (rv)
    return rv;
  STACK_OF(X509) *certs = NULL;
  rv = nq_load_certificates(&certs, &s, err, errlen);
  for (size_t i = 0; !rv && i < sk_X509_num(certs); i++)
    if (X509_STORE_add_cert(store, sk_X509_value(certs, i)) != 1)
      rv = nq_reason_fail(err, errlen, "certificate %zu of %s cannot be trusted: %s", i + 1, s.name, nq_reason_text());
  sk_X509_pop_free(certs, X509_free);
  nq_load_close(&s);
  return rv;
}

int nq_roots_load(X509_STORE **out, const nq_tls_blob *ca, char *err, size_t errlen) {
  X509_STORE *store = X509_STORE_new();
  if (!store)
    return nq_reason_lack(err, errlen, ENOMEM, "the trust anchors");
  /* Whatever was given is trusted, be it a root, an intermediate or the peer's own certificate. */
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  int rv = add_anchors(store, ca, err, errlen);
  if (rv)
    X509_STORE_free(store);
  else
    *out = store;
  return rv;
}

/* ---- the system's roots ---- */

static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch, Gentoo, Alpine */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* older ones of those */
    "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
    "/etc/pki/tls/cacert.pem",                           /* OpenELEC */
    "/etc/ssl/cert.pem",                                 /* macOS, Alpine, the BSDs */
    "/usr/local/etc/ssl/cert.pem",                       /* FreeBSD */
    "/usr/local/share/certs/ca-root-nss.crt",            /* FreeBSD, older */
    "/etc/openssl/certs/ca-certificates.crt",            /* NetBSD */
};
static const char *const dirs[] = {
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/apex/com.android.conscrypt/cacerts",
    "/system/etc/security/cacerts",
};

static pthread_mutex_t roots_lock = PTHREAD_MUTEX_INITIALIZER;
static X509_STORE *roots; /* holds a reference */
static char roots_key[4096]; /* what roots was made from */

/* Every file of the directory that holds certificates. What cannot be read or is no certificate is passed over, but
 * not for want of memory or descriptors: roots would be missing as long as the process lives. */
static int add_dir(X509_STORE *store, const char *dir, size_t *n, char *err, size_t errlen) {
  DIR *d = opendir(dir);
  int rv = d || !nq_reason_is_lack(errno) ? 0 : nq_reason_lack(err, errlen, errno, "the directory of trusted roots");
  char path[4096];
  for (struct dirent *e; d && rv <= 0 && (e = readdir(d));) {
    if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path)
      continue;
    nq_tls_blob b = {path, NULL, 0};
    rv = add_anchors(store, &b, err, errlen);
    *n += rv == 0;
  }
  if (d)
    closedir(d);
  return rv > 0 ? rv : 0;
}

static int add_dirs(X509_STORE *store, const char *list, size_t *n, char *err, size_t errlen) {
  char dir[4096];
  for (;;) {
    size_t len = strcspn(list, ":");
    if (len && len < sizeof dir) {
      memcpy(dir, list, len);
      dir[len] = 0;
      int rv = add_dir(store, dir, n, err, errlen);
      if (rv)
        return rv;
    }
    if (!list[len])
      return 0;
    list += len + 1;
  }
}

/* Where the roots are: the environment's places when it names any, else the first that exists. */
static void find_roots(const char **file, const char **dir) {
  *file = nq_environ_get("SSL_CERT_FILE");
  *dir = nq_environ_get("SSL_CERT_DIR");
  if (*file || *dir)
    return;
  for (size_t i = 0; i < sizeof bundles / sizeof *bundles && !*file; i++)
    if (access(bundles[i], R_OK) == 0)
      *file = bundles[i];
  for (size_t i = 0; i < sizeof dirs / sizeof *dirs && !*file && !*dir; i++)
    if (access(dirs[i], R_OK | X_OK) == 0)
      *dir = dirs[i];
}

static int read_roots(X509_STORE **out, const char *file, const char *dir, char *err, size_t errlen) {
  if (!file && !dir)
    return nq_reason_fail(err, errlen,
                          "no trusted roots found on this system: install its CA certificates package, set "
                          "SSL_CERT_FILE or SSL_CERT_DIR, or give ca");
  X509_STORE *store = X509_STORE_new();
  if (!store)
    return nq_reason_lack(err, errlen, ENOMEM, "the system's trusted roots");
  nq_tls_blob b = {file, NULL, 0};
  size_t n = 0;
  int rv = file ? add_anchors(store, &b, err, errlen) : 0;
  if (!rv && dir)
    rv = add_dirs(store, dir, &n, err, errlen);
  if (!rv && !n && !file)
    rv = nq_reason_fail(err, errlen, "no trusted roots found in '%s': set SSL_CERT_FILE or SSL_CERT_DIR, or give ca",
                        dir);
  ERR_clear_error();
  if (rv) {
    X509_STORE_free(store);
    return rv;
  }
  if (errlen)
    err[0] = 0; /* of what was passed over */
  *out = store;
  return 0;
}

static void make_key(char *key, size_t cap, const char *file, const char *dir) {
  struct stat f = {0}, d = {0};
  if (file)
    (void)stat(file, &f);
  if (dir)
    (void)stat(dir, &d); /* of a list of directories only the names count */
  snprintf(key, cap, "%s|%lld|%lld|%lld|%s|%lld", file ? file : "", (long long)f.st_ino, (long long)f.st_size,
           (long long)f.st_mtime, dir ? dir : "", (long long)d.st_mtime);
}

int nq_roots_system(X509_STORE **out, char *err, size_t errlen) {
  char key[sizeof roots_key];
  const char *file, *dir;
  pthread_mutex_lock(&roots_lock);
  find_roots(&file, &dir);
  make_key(key, sizeof key, file, dir);
  if (!roots || strcmp(key, roots_key) != 0) {
    X509_STORE *fresh = NULL;
    int rv = read_roots(&fresh, file, dir, err, errlen);
    if (rv) {
      pthread_mutex_unlock(&roots_lock);
      return rv;
    }
    X509_STORE_free(roots);
    roots = fresh;
    memcpy(roots_key, key, sizeof roots_key);
  }
  *out = roots;
  X509_STORE_up_ref(roots);
  pthread_mutex_unlock(&roots_lock);
  return 0;
}
