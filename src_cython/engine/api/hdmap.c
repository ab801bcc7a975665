/* hdmap.c: handler maps, as engine.h has them: which protocol they are for. Names are app/hdmap.c's. */
#include "app/hdmap.h"

#include "app/nq1.h"
#include "app/raw.h"

nq_hdmap *nq_hdmap_new(void) { return nq_hdmap_make(&nq_app_nq1); }
void nq_hdmap_speak_raw(nq_hdmap *m) { nq_hdmap_set_app(m, &nq_app_raw); }
