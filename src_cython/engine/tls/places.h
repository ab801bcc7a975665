/* places.h: where the system's roots are. For the files of this folder. */
#ifndef NQ_PLACES_H
#define NQ_PLACES_H

/* The two variables do not know each other, as in OpenSSL: the one that is unset keeps its default, and what one names
 * and is not there is passed over. */
typedef struct nq_places {
  const char *file, *dir; /* What SSL_CERT_FILE and SSL_CERT_DIR name, else the defaults; NULL: none. */
  int own_file, own_dir;  /* Whether a variable named it. */
} nq_places;

/* Where they are now. */
void nq_places_find(nq_places *p);
/* Calls each with every directory; it ends when that returns something else than 0, which is returned. */
int nq_places_dirs(const nq_places *p, int (*each)(void *u, const char *dir), void *u);

#endif
