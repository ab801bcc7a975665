/* identity.c: certificates, keys and trust anchors, from files or memory, PEM or DER. Every refusal is one sentence
 * that names what was given and says what to do. */
#include "tls/tls_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/pkcs8.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE (16u << 20)

/* ---- bytes ---- */

typedef struct source {
  const uint8_t *data;
  size_t len;
  uint8_t *own; /* read from a file: wiped and freed at the end */
  size_t own_cap;
  char name[512]; /* "certificate file '/etc/x.pem'", "key (given as bytes)" */
} source;

static void source_close(source *s) {
  if (s->own)
    OPENSSL_cleanse(s->own, s->own_cap);
  free(s->own);
  s->own = NULL;
}

static int read_all(source *s, int fd, size_t size) {
  s->own_cap = size + 1; /* one more, to see that the file has ended */
  s->own = malloc(s->own_cap);
  if (!s->own)
    return ENOMEM;
  s->data = s->own;
  while (s->len < s->own_cap) {
    ssize_t n = read(fd, s->own + s->len, s->own_cap - s->len);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return errno;
    if (n == 0)
      return 0;
    s->len += (size_t)n;
  }
  return EBUSY; /* it grew while it was read */
}

static int open_file(source *s, const char *path, char *err, size_t errlen) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  struct stat st;
  int e = fd < 0 || fstat(fd, &st) ? errno : 0;
  if (!e && S_ISDIR(st.st_mode))
    e = EISDIR;
  size_t size = e ? 0 : st.st_size > 0 ? (size_t)st.st_size : MAX_FILE; /* a pipe or /proc file has no size */
  if (!e && (!(S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)) || size > MAX_FILE))
    e = EFBIG;
  if (!e)
    e = fcntl(fd, F_SETFL, 0) ? errno : read_all(s, fd, size);
  if (fd >= 0)
    close(fd);
  if (nq_tls_is_lack(e))
    return nq_tls_lack(err, errlen, e, s->name);
  if (e == EFBIG)
    return nq_tls_fail(err, errlen, "%s is not a plain file of at most 16 MiB; check the path", s->name);
  if (e)
    return nq_tls_fail(err, errlen, "cannot read %s: %s; check the path and its permissions", s->name, strerror(e));
  return 0;
}

static int source_open(source *s, const nq_tls_blob *b, const char *what, char *err, size_t errlen) {
  memset(s, 0, sizeof *s);
  if (b->data) {
    snprintf(s->name, sizeof s->name, "%s (given as bytes)", what);
    s->data = b->data;
    s->len = b->len;
  } else {
    snprintf(s->name, sizeof s->name, "%s file '%s'", what, b->path);
    int rv = open_file(s, b->path, err, errlen);
    if (rv) {
      source_close(s);
      return rv;
    }
  }
  if (s->len >= 3 && memcmp(s->data, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
    s->data += 3, s->len -= 3;
  if (s->len && s->len <= MAX_FILE)
    return 0;
  nq_tls_fail(err, errlen, "%s is %s; give PEM or DER", s->name, s->len ? "larger than 16 MiB" : "empty");
  source_close(s);
  return -1;
}

static int has_text(const source *s, const char *word) { return memmem(s->data, s->len, word, strlen(word)) != NULL; }

static int is_pem(const source *s) { return has_text(s, "-----BEGIN "); }

/* ---- certificates ---- */

static X509 *next_der(const source *s, size_t *off) {
  if (*off >= s->len)
    return NULL;
  const uint8_t *p = s->data + *off;
  X509 *x = d2i_X509(NULL, &p, (long)(s->len - *off));
  if (x)
    *off = (size_t)(p - s->data);
  return x;
}

/* At the end of a PEM text the library complains that no block starts, and of nothing else: it does so too when it had
 * no memory for the next one. */
static int at_pem_end(void) {
  uint32_t e = ERR_peek_last_error();
  return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE && ERR_peek_error() == e;
}

static int no_certificate(const source *s, char *err, size_t errlen) {
  if (has_text(s, "PRIVATE KEY-----"))
    return nq_tls_fail(err, errlen, "%s holds a private key and no certificate; were certificate and key swapped?",
                       s->name);
  if (has_text(s, "BEGIN CERTIFICATE REQUEST") || has_text(s, "BEGIN NEW CERTIFICATE REQUEST"))
    return nq_tls_fail(err, errlen, "%s holds a signing request; give the certificate that a CA made from it", s->name);
  return nq_tls_fail(err, errlen, "%s holds no certificate; give PEM with a CERTIFICATE block, or DER", s->name);
}

/* The library reads some parts of a certificate later or not at all if there is no memory, and remembers that it could
 * not: such a certificate is no good as long as it lives. So they are read now. Returns 0 when there is no memory. */
static int read_through(X509 *x) {
  ERR_clear_error();
  X509_check_purpose(x, -1, 0); /* its extensions */
  if (nq_tls_no_memory())
    return 0;
  if (X509_get0_pubkey(x))
    return 1;
  uint8_t *der = NULL; /* is it of a kind that is not known, or was there no memory? */
  int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
  CBS cbs;
  CBS_init(&cbs, der, n > 0 ? (size_t)n : 0);
  EVP_PKEY *key = EVP_parse_public_key(&cbs);
  EVP_PKEY_free(key);
  OPENSSL_free(der);
  return !nq_tls_no_memory() && !key;
}

/* All certificates of s in their order. A sentence when there is none or one is damaged. */
static int read_certificates(STACK_OF(X509) * *out, const source *s, char *err, size_t errlen) {
  STACK_OF(X509) *all = sk_X509_new_null();
  BIO *bio = is_pem(s) ? BIO_new_mem_buf(s->data, (int)s->len) : NULL;
  size_t off = 0;
  int rv = all && (bio || !is_pem(s)) ? 0 : nq_tls_lack(err, errlen, ENOMEM, s->name);
  ERR_clear_error();
  while (!rv) {
    X509 *x = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : next_der(s, &off);
    if (!x)
      break;
    if (!read_through(x) || !sk_X509_push(all, x)) {
      X509_free(x);
      rv = nq_tls_lack(err, errlen, ENOMEM, s->name);
    }
  }
  size_t n = all ? sk_X509_num(all) : 0;
  if (!rv && !(bio ? at_pem_end() : off == s->len || !n))
    rv = nq_tls_fail(err, errlen, "certificate %zu in %s is damaged: %s", n + 1, s->name, nq_tls_reason());
  else if (!rv && !n)
    rv = no_certificate(s, err, errlen);
  BIO_free(bio);
  ERR_clear_error();
  if (rv) {
    sk_X509_pop_free(all, X509_free);
    all = NULL;
  }
  *out = all;
  return rv;
}

/* ---- keys ---- */

static int no_password(char *buf, int size, int rwflag, void *u) {
  (void)buf, (void)size, (void)rwflag, (void)u;
  return -1;
}

static int is_encrypted_der(const source *s) {
  const uint8_t *p = s->data;
  X509_SIG *sig = d2i_X509_SIG(NULL, &p, (long)s->len); /* the shape of EncryptedPrivateKeyInfo */
  X509_SIG_free(sig);
  return sig != NULL;
}

static int no_key(const source *s, char *err, size_t errlen) {
  if (is_pem(s) ? has_text(s, "BEGIN ENCRYPTED PRIVATE KEY") || has_text(s, "4,ENCRYPTED") : is_encrypted_der(s))
    return nq_tls_fail(err, errlen, "%s is encrypted; decrypt it first (openssl pkey -in FILE -out PLAIN)", s->name);
  if (has_text(s, "BEGIN OPENSSH PRIVATE KEY"))
    return nq_tls_fail(err, errlen, "%s is in OpenSSH's format; convert it first (ssh-keygen -p -m PKCS8 -f FILE)",
                       s->name);
  if (is_pem(s) && !has_text(s, "PRIVATE KEY-----"))
    return nq_tls_fail(err, errlen, "%s holds no private key; give PEM with a PRIVATE KEY block, or DER", s->name);
  return nq_tls_fail(err, errlen, "%s is no readable private key (%s); give PKCS#8, PKCS#1 or SEC1 as PEM or DER",
                     s->name, nq_tls_reason());
}

static int read_key(EVP_PKEY **out, const source *s, char *err, size_t errlen) {
  EVP_PKEY *key = NULL;
  ERR_clear_error();
  if (is_pem(s)) {
    BIO *bio = BIO_new_mem_buf(s->data, (int)s->len);
    key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
  } else {
    const uint8_t *p = s->data;
    key = d2i_AutoPrivateKey(NULL, &p, (long)s->len);
  }
  int rv = key ? 0 : no_key(s, err, errlen);
  ERR_clear_error();
  *out = key;
  return rv;
}

/* ---- identity ---- */

static int mismatch(STACK_OF(X509) * certs, EVP_PKEY *key, const source *cert, const source *keysrc, char *err,
                    size_t errlen) {
  for (size_t i = 1; i < sk_X509_num(certs); i++)
    if (X509_check_private_key(sk_X509_value(certs, i), key))
      return nq_tls_fail(err, errlen, "the key belongs to certificate %zu of %s; put that one first, its chain after",
                         i + 1, cert->name);
  return nq_tls_fail(err, errlen, "%s does not belong to %s; give the key that the certificate was made with",
                     keysrc->name, cert->name);
}

static int use(SSL_CTX *ctx, STACK_OF(X509) * certs, EVP_PKEY *key, const source *cert, const source *keysrc, char *err,
               size_t errlen) {
  X509 *leaf = sk_X509_value(certs, 0);
  if (!X509_check_private_key(leaf, key))
    return mismatch(certs, key, cert, keysrc, err, errlen);
  if (SSL_CTX_use_certificate(ctx, leaf) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
    return nq_tls_fail(err, errlen, "%s cannot be used for TLS: %s", cert->name, nq_tls_reason());
  for (size_t i = 1; i < sk_X509_num(certs); i++)
    if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(certs, i)) != 1)
      return nq_tls_fail(err, errlen, "certificate %zu of %s cannot be sent: %s", i + 1, cert->name, nq_tls_reason());
  return 0;
}

/* The key of a combined file: cert's own text, when there is one in it. */
static int open_key(source *s, const source *cert, const nq_tls_blob *key, const nq_tls_blob *cert_blob, char *err,
                    size_t errlen) {
  if (nq_tls_blob_given(key))
    return source_open(s, key, "key", err, errlen);
  if (!has_text(cert, "PRIVATE KEY-----"))
    return nq_tls_fail(err, errlen, "key is missing and %s holds none; give the certificate's private key", cert->name);
  return source_open(s, cert_blob, "key in certificate", err, errlen);
}

int nq_tls_load_identity(SSL_CTX *ctx, const nq_tls_blob *cert, const nq_tls_blob *key, char *err, size_t errlen) {
  source c, k;
  int rv = source_open(&c, cert, "certificate", err, errlen);
  if (rv)
    return rv;
  rv = open_key(&k, &c, key, cert, err, errlen);
  if (rv) {
    source_close(&c);
    return rv;
  }
  STACK_OF(X509) *certs = NULL;
  EVP_PKEY *pkey = NULL;
  if (!(rv = read_certificates(&certs, &c, err, errlen)) && !(rv = read_key(&pkey, &k, err, errlen)))
    rv = use(ctx, certs, pkey, &c, &k, err, errlen);
  EVP_PKEY_free(pkey);
  sk_X509_pop_free(certs, X509_free);
  source_close(&k);
  source_close(&c);
  return rv;
}

/* ---- trust anchors ---- */

static int add_anchors(X509_STORE *store, const nq_tls_blob *b, char *err, size_t errlen) {
  source s;
  int rv = source_open(&s, b, "CA", err, errlen);
  if (rv)
    return rv;
  STACK_OF(X509) *certs = NULL;
  rv = read_certificates(&certs, &s, err, errlen);
  for (size_t i = 0; !rv && i < sk_X509_num(certs); i++)
    if (X509_STORE_add_cert(store, sk_X509_value(certs, i)) != 1)
      rv = nq_tls_fail(err, errlen, "certificate %zu of %s cannot be trusted: %s", i + 1, s.name, nq_tls_reason());
  sk_X509_pop_free(certs, X509_free);
  source_close(&s);
  return rv;
}

int nq_tls_load_anchors(X509_STORE **out, const nq_tls_blob *ca, char *err, size_t errlen) {
  X509_STORE *store = X509_STORE_new();
  if (!store)
    return nq_tls_lack(err, errlen, ENOMEM, "the trust anchors");
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
  int rv = d || !nq_tls_is_lack(errno) ? 0 : nq_tls_lack(err, errlen, errno, "the directory of trusted roots");
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
  *file = nq_tls_getenv("SSL_CERT_FILE");
  *dir = nq_tls_getenv("SSL_CERT_DIR");
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
    return nq_tls_fail(err, errlen,
                       "no trusted roots found on this system: install its CA certificates package, set "
                       "SSL_CERT_FILE or SSL_CERT_DIR, or give ca");
  X509_STORE *store = X509_STORE_new();
  if (!store)
    return nq_tls_lack(err, errlen, ENOMEM, "the system's trusted roots");
  nq_tls_blob b = {file, NULL, 0};
  size_t n = 0;
  int rv = file ? add_anchors(store, &b, err, errlen) : 0;
  if (!rv && dir)
    rv = add_dirs(store, dir, &n, err, errlen);
  if (!rv && !n && !file)
    rv = nq_tls_fail(err, errlen, "no trusted roots found in '%s': set SSL_CERT_FILE or SSL_CERT_DIR, or give ca", dir);
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

int nq_tls_system_roots(X509_STORE **out, char *err, size_t errlen) {
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
