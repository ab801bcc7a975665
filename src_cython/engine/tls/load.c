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

/* ---- what was found instead ---- */

static size_t count(const nq_load_source *s, const char *word) {
  const uint8_t *p = s->data, *end = s->data + s->len;
  size_t n = 0, len = strlen(word);
  for (; (p = memmem(p, (size_t)(end - p), word, len)); p += len)
    n++;
  return n;
}

/* A text that shows PEM and yet is none, by what people do to it. NULL when it is nothing of the kind. */
static const char *spoiled(const nq_load_source *s) {
  if (s->len > 3 && (memcmp(s->data, "\xff\xfe", 2) == 0 || memcmp(s->data, "\xfe\xff", 2) == 0 ||
                     memcmp(s->data, "-\0-", 3) == 0 || memcmp(s->data, "\0-\0", 3) == 0))
    return "is UTF-16 text (PowerShell's > writes it); save it as ASCII or UTF-8";
  const uint8_t *begin = memmem(s->data, s->len, "-----BEGIN ", 11);
  if (!begin)
    return NULL;
  if (memmem(begin, s->len - (size_t)(begin - s->data), "-----\\n", 7))
    return "has \\n as two characters where lines end (environment variables do that); replace them by line ends";
  if (begin > s->data && (begin[-1] == ' ' || begin[-1] == '\t'))
    return "is indented; every line of PEM starts at the margin (textwrap.dedent)";
  return count(s, "-----END ") >= count(s, "-----BEGIN ") ? NULL
                                                          : "ends before its -----END line; is the file cut off?";
}

/* Another format of certificates, NULL when it is none that we know. */
static const char *foreign(const nq_load_source *s) {
  static const uint8_t signed_data[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02};
  const uint8_t *oid = memmem(s->data, s->len < 32 ? s->len : 32, signed_data, sizeof signed_data);
  if (oid || nq_load_has_text(s, "BEGIN PKCS7"))
    return "is PKCS#7; convert it first (openssl pkcs7 -print_certs -in FILE -out PEM)";
  if (s->len > 4 && memcmp(s->data, "\xfe\xed\xfe\xed", 4) == 0)
    return "is a Java keystore; convert it first (keytool -importkeystore -deststoretype PKCS12)";
  return NULL;
}

static int no_certificate(const nq_load_source *s, char *err, size_t errlen) {
  if (nq_load_has_text(s, "PRIVATE KEY-----"))
    return nq_reason_fail(err, errlen, "%s holds a private key and no certificate; were certificate and key swapped?",
                          s->name);
  if (nq_load_has_text(s, "BEGIN CERTIFICATE REQUEST") || nq_load_has_text(s, "BEGIN NEW CERTIFICATE REQUEST"))
    return nq_reason_fail(err, errlen, "%s holds a signing request; give the certificate that a CA made from it",
                          s->name);
  const char *what = spoiled(s);
  if (!what)
    what = foreign(s);
  if (what)
    return nq_reason_fail(err, errlen, "%s holds no certificate that can be read: it %s", s->name, what);
  return nq_reason_fail(err, errlen, "%s holds no certificate; give PEM with a CERTIFICATE block, DER or PKCS#12",
                        s->name);
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

/* ---- PKCS#12 (RFC 7292) ---- */

int nq_load_is_pkcs12(const nq_load_source *s) {
  CBS in, pfx;
  uint64_t version = 0;
  CBS_init(&in, s->data, s->len);
  if (s->len < 4 || s->data[0] != 0x30)
    return 0;
  /* Its length may be indefinite (BER), which certificates and keys never have. */
  if (s->data[1] == 0x80)
    return s->len >= 5 && memcmp(s->data + 2, "\x02\x01\x03", 3) == 0;
  return CBS_get_asn1(&in, &pfx, CBS_ASN1_SEQUENCE) && CBS_get_asn1_uint64(&pfx, &version) && version == 3;
}

static int is_wrong_password(uint32_t e) {
#ifdef OPENSSL_IS_AWSLC
  if (ERR_GET_LIB(e) == ERR_LIB_PKCS12) /* it has no other error */
    return 1;
#endif
  return ERR_GET_LIB(e) == ERR_LIB_CIPHER ||
         (ERR_GET_LIB(e) == ERR_LIB_PKCS8 && ERR_GET_REASON(e) == PKCS8_R_INCORRECT_PASSWORD);
}

/* Both parts; *key is NULL when it holds none. */
static int open_pkcs12(EVP_PKEY **key, STACK_OF(X509) * certs, const nq_load_source *s, const nq_tls_options *o,
                       char *err, size_t errlen) {
  CBS in;
  CBS_init(&in, s->data, s->len);
  ERR_clear_error();
  if (o->password && memchr(o->password, 0, o->password_len))
    return nq_reason_fail(err, errlen, "the password has a NUL in it: PKCS#12 cannot have been encrypted with it");
  if (PKCS12_get_key_and_certs(key, certs, &in, o->password ? o->password : ""))
    return 0;
  if (is_wrong_password(ERR_peek_last_error()))
    return nq_reason_fail(err, errlen, o->password ? "the password does not open %s" : "%s is encrypted; give password",
                          s->name);
  return nq_reason_fail(err, errlen, "%s is PKCS#12 that cannot be read: %s", s->name, nq_reason_text());
}

/* Its certificates, first the one that its key belongs to. */
static int pkcs12_certificates(STACK_OF(X509) * *out, const nq_load_source *s, const nq_tls_options *o, char *err,
                               size_t errlen) {
  EVP_PKEY *key = NULL;
  STACK_OF(X509) *all = sk_X509_new_null();
  int rv = all ? open_pkcs12(&key, all, s, o, err, errlen) : nq_reason_lack(err, errlen, ENOMEM, s->name);
  size_t n = all ? sk_X509_num(all) : 0;
  if (!rv && !n)
    rv = nq_reason_fail(err, errlen, "%s holds no certificate", s->name);
  for (size_t i = 0; !rv && i < n; i++)
    if (!read_through(sk_X509_value(all, i)))
      rv = nq_reason_lack(err, errlen, ENOMEM, s->name);
  for (size_t i = 1; !rv && key && i < n; i++) {
    X509 *x = sk_X509_value(all, i);
    if (X509_check_private_key(x, key)) {
      sk_X509_set(all, i, sk_X509_value(all, 0));
      sk_X509_set(all, 0, x);
      break;
    }
  }
  EVP_PKEY_free(key);
  ERR_clear_error();
  if (rv) {
    sk_X509_pop_free(all, X509_free);
    all = NULL;
  }
  *out = all;
  return rv;
}

static int pkcs12_key(EVP_PKEY **out, const nq_load_source *s, const nq_tls_options *o, char *err, size_t errlen) {
  STACK_OF(X509) *certs = sk_X509_new_null();
  int rv = certs ? open_pkcs12(out, certs, s, o, err, errlen) : nq_reason_lack(err, errlen, ENOMEM, s->name);
  sk_X509_pop_free(certs, X509_free);
  if (!rv && !*out)
    rv = nq_reason_fail(err, errlen, "%s holds no private key; give key too", s->name);
  return rv;
}

/* ---- certificates of PEM and DER ---- */

/* All certificates of s in their order. A sentence when there is none or one is damaged. */
int nq_load_certificates(STACK_OF(X509) * *out, const nq_load_source *s, const nq_tls_options *o, char *err,
                         size_t errlen) {
  if (nq_load_is_pkcs12(s))
    return pkcs12_certificates(out, s, o, err, errlen);
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
    rv = nq_reason_fail(err, errlen, "certificate %zu in %s is damaged: %s%s", n + 1, s->name, spoiled(s) ? "it " : "",
                        spoiled(s) ? spoiled(s) : nq_reason_text());
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

typedef struct asking {
  const nq_tls_options *o;
  int asked; /* The library wanted a password. */
} asking;

/* What the library calls for a password. */
static int tell_password(char *buf, int size, int rwflag, void *u) {
  asking *a = u;
  (void)rwflag;
  a->asked = 1;
  if (!a->o->password || a->o->password_len > (size_t)size)
    return -1;
  memcpy(buf, a->o->password, a->o->password_len);
  return (int)a->o->password_len;
}

static int is_encrypted_der(const nq_load_source *s) {
  const uint8_t *p = s->data;
  X509_SIG *sig = d2i_X509_SIG(NULL, &p, (long)s->len); /* the shape of EncryptedPrivateKeyInfo */
  X509_SIG_free(sig);
  ERR_clear_error();
  return sig != NULL;
}

static int locked(const nq_load_source *s, const nq_tls_options *o, char *err, size_t errlen) {
  if (!o->password)
    return nq_reason_fail(err, errlen,
                          "%s is encrypted; give password, or decrypt it (openssl pkey -in FILE -out PLAIN)", s->name);
  return nq_reason_fail(err, errlen, "the password does not open %s (%s)", s->name, nq_reason_text());
}

static int no_key(const nq_load_source *s, char *err, size_t errlen) {
  if (nq_load_has_text(s, "BEGIN OPENSSH PRIVATE KEY"))
    return nq_reason_fail(err, errlen, "%s is in OpenSSH's format; convert it first (ssh-keygen -p -m PKCS8 -f FILE)",
                          s->name);
  const char *what = spoiled(s);
  if (!what)
    what = foreign(s);
  if (what)
    return nq_reason_fail(err, errlen, "%s holds no readable private key: it %s", s->name, what);
  if (is_pem(s) && !nq_load_has_text(s, "PRIVATE KEY-----"))
    return nq_reason_fail(err, errlen, "%s holds no private key; give PEM with a PRIVATE KEY block, DER or PKCS#12",
                          s->name);
  return nq_reason_fail(err, errlen, "%s is no readable private key (%s); give PKCS#8, PKCS#1 or SEC1 as PEM or DER",
                        s->name, nq_reason_text());
}

static EVP_PKEY *read_der(const nq_load_source *s, asking *a) {
  const uint8_t *p = s->data;
  if (!is_encrypted_der(s))
    return d2i_AutoPrivateKey(NULL, &p, (long)s->len);
  a->asked = 1;
  CBS cbs;
  CBS_init(&cbs, s->data, s->len);
  return a->o->password ? PKCS8_parse_encrypted_private_key(&cbs, a->o->password, a->o->password_len) : NULL;
}

int nq_load_key(EVP_PKEY **out, const nq_load_source *s, const nq_tls_options *o, char *err, size_t errlen) {
  *out = NULL;
  if (nq_load_is_pkcs12(s))
    return pkcs12_key(out, s, o, err, errlen);
  EVP_PKEY *key = NULL;
  asking a = {o, 0};
  ERR_clear_error();
  if (is_pem(s)) {
    BIO *bio = BIO_new_mem_buf(s->data, (int)s->len);
    key = bio ? PEM_read_bio_PrivateKey(bio, NULL, tell_password, &a) : NULL;
    BIO_free(bio);
  } else {
    key = read_der(s, &a);
  }
  int rv = key ? 0 : a.asked ? locked(s, o, err, errlen) : no_key(s, err, errlen);
  ERR_clear_error();
  *out = key;
  return rv;
}
