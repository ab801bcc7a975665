#include "tls/places.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/environ.h"

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

void nq_places_find(nq_places *p) {
  p->file = nq_environ_get("SSL_CERT_FILE");
  p->dir = nq_environ_get("SSL_CERT_DIR");
  p->own_file = p->file != NULL;
  p->own_dir = p->dir != NULL;
  for (size_t i = 0; i < sizeof bundles / sizeof *bundles && !p->file; i++)
    if (access(bundles[i], R_OK) == 0)
      p->file = bundles[i];
  if (!p->own_file && p->file)
    return; /* the default bundle holds what the default directory does */
  for (size_t i = 0; i < sizeof dirs / sizeof *dirs && !p->dir; i++)
    if (access(dirs[i], R_OK | X_OK) == 0)
      p->dir = dirs[i];
}

int nq_places_dirs(const nq_places *p, int (*each)(void *u, const char *dir), void *u) {
  char dir[4096];
  const char *list = p->dir ? p->dir : "";
  for (;;) {
    size_t len = strcspn(list, ":");
    if (len && len < sizeof dir) {
      memcpy(dir, list, len);
      dir[len] = 0;
      int rv = each(u, dir);
      if (rv)
        return rv;
    }
    if (!list[len])
      return 0;
    list += len + 1;
  }
}
