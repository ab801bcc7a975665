/* Every refusal is one sentence that names what was given and says what to do. */
#include "tls/load.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/pkcs8.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls/reason.h"

#define MAX_FILE (16u << 20)

/* ---- bytes ---- */

void nq_load_close(nq_load_source *s) {
  if (s->own)
    OPENSSL_cleanse(s->own, s->own_cap);
  free(s->own);
  s->own = NULL;
}

static int read_all(nq_load_source *s, int fd, size_t size) {
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

static int open_file(nq_load_source *s, const char *path, char *err, size_t errlen) {
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
  if (nq_reason_is_lack(e))
    return nq_reason_lack(err, errlen, e, s->name);
  if (e == EFBIG)
    return nq_reason_fail(err, errlen, "%s is not a plain file of at most 16 MiB; check the path", s->name);
  if (e)
    return nq_reason_fail(err, errlen, "cannot read %s: %s; check the path and its permissions", s->name, strerror(e));
  return 0;
}

int nq_load_open(nq_load_source *s, const nq_tls_blob *b, const char *what, char *err, size_t errlen) {
  memset(s, 0, sizeof *s);
  if (b->data) {
    snprintf(s->name, sizeof s->name, "%s (given as bytes)", what);
    s->data = b->data;
    s->len = b->len;
  } else {
    snprintf(s->name, sizeof s->name, "%s file '%s'", what, b->path);
    int rv = open_file(s, b->path, err, errlen);
    if (rv) {
      nq_load_close(s);
      return rv;
    }
  }
  if (s->len >= 3 && memcmp(s->data, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
    s->data += 3, s->len -= 3;
  if (s->len && s->len <= MAX_FILE)
    return 0;
  nq_reason_fail(err, errlen, "%s is %s; give PEM or DER", s->name, s->len ? "larger than 16 MiB" : "empty");
  nq_load_close(s);
  return -1;
}

int nq_load_has_text(const nq_load_source *s, const char *word) {
  return memmem(s->data, s->len, word, strlen(word)) != NULL;
}

static int is_pem(const nq_load_source *s) { return nq_load_has_text(s, "-----BEGIN "); }

/* ---- certificates ---- */

static X509 *next_der(const nq_load_source *s, size_t *off) {
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

static int no_certificate(const nq_load_source *s, char *err, size_t errlen) {
  if (nq_load_has_text(s, "PRIVATE KEY-----"))
    return nq_reason_fail(err, errlen, "%s holds a private key and no certificate; were certificate and key swapped?",
                          s->name);
  if (nq_load_has_text(s, "BEGIN CERTIFICATE REQUEST") || nq_load_has_text(s, "BEGIN NEW CERTIFICATE REQUEST"))
    return nq_reason_fail(err, errlen, "%s holds a signing request; give the certificate that a CA made from it",
                          s->name);
  return nq_reason_fail(err, errlen, "%s holds no certificate; give PEM with a CERTIFICATE block, or DER", s->name);
}

/* The library reads some parts of a certificate later or not at all if there is no memory, and remembers that it could
 * not: such a certificate is no good as long as it lives. So they are read now. Returns 0 when there is no memory. */
static int read_through(X509 *x) {
  ERR_clear_error();
  X509_check_purpose(x, -1, 0); /* its extensions */
  if (nq_reason_no_memory())
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
  return !nq_reason_no_memory() && !key;
}

/* All certificates of s in their order. A sentence when there is none or one is damaged. */
int nq_load_certificates(STACK_OF(X509) * *out, const nq_load_source *s, char *err, size_t errlen) {
  STACK_OF(X509) *all = sk_X509_new_null();
  BIO *bio = is_pem(s) ? BIO_new_mem_buf(s->data, (int)s->len) : NULL;
  size_t off = 0;
  int rv = all && (bio || !is_pem(s)) ? 0 : nq_reason_lack(err, errlen, ENOMEM, s->name);
  ERR_clear_error();
  while (!rv) {
    X509 *x = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : next_der(s, &off);
    if (!x)
      break;
    if (!read_through(x) || !sk_X509_push(all, x)) {
      X509_free(x);
      rv = nq_reason_lack(err, errlen, ENOMEM, s->name);
    }
  }
  size_t n = all ? sk_X509_num(all) : 0;
  if (!rv && !(bio ? at_pem_end() : off == s->len || !n))
    rv = nq_reason_fail(err, errlen, "certificate %zu in %s is damaged: %s", n + 1, s->name, nq_reason_text());
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

static int is_encrypted_der(const nq_load_source *s) {
  const uint8_t *p = s->data;
  X509_SIG *sig = d2i_X509_SIG(NULL, &p, (long)s->len); /* the shape of EncryptedPrivateKeyInfo */
  X509_SIG_free(sig);
  return sig != NULL;
}

static int no_key(const nq_load_source *s, char *err, size_t errlen) {
  if (is_pem(s) ? nq_load_has_text(s, "BEGIN ENCRYPTED PRIVATE KEY") || nq_load_has_text(s, "4,ENCRYPTED")
                : is_encrypted_der(s))
    return nq_reason_fail(err, errlen, "%s is encrypted; decrypt it first (openssl pkey -in FILE -out PLAIN)", s->name);
  if (nq_load_has_text(s, "BEGIN OPENSSH PRIVATE KEY"))
    return nq_reason_fail(err, errlen, "%s is in OpenSSH's format; convert it first (ssh-keygen -p -m PKCS8 -f FILE)",
                          s->name);
  if (is_pem(s) && !nq_load_has_text(s, "PRIVATE KEY-----"))
    return nq_reason_fail(err, errlen, "%s holds no private key; give PEM with a PRIVATE KEY block, or DER", s->name);
  return nq_reason_fail(err, errlen, "%s is no readable private key (%s); give PKCS#8, PKCS#1 or SEC1 as PEM or DER",
                        s->name, nq_reason_text());
}

int nq_load_key(EVP_PKEY **out, const nq_load_source *s, char *err, size_t errlen) {
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
