/* resolve.c: lookups through c-ares; the only file that knows it.
 *
 * Every lookup has a channel of its own: then its servers are asked in the order given, and giving it up is destroying
 * the channel. Channels, `active` and `socks` belong to the thread that waits; the rest is behind the lock. */
#include "dns/resolve.h"

#include <cares/ares.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

#define MS UINT64_C(1000000)
#define SEC UINT64_C(1000000000)

enum {
  TRIES = 3,
  LONGEST_NAME = 253, /* RFC 1035 3.1; a dot at the end is not counted */
  SOCKETS = 4 * NQ_RESOLVE_ACTIVE, /* a UDP socket each, and a TCP one for a long answer; more go unheard */
  HALF = NQ_RESOLVE_ADDRESSES / 2
};

typedef struct lookup lookup;

/* One of the two questions: AAAA, then A. */
typedef struct question {
  lookup *of;
  int status;
  size_t n;
  nq_addr found[HALF];
} question;

struct lookup {
  lookup *next;
  nq_resolver *r;
  ares_channel_t *channel;
  uint64_t id, deadline;
  unsigned open; /* questions without an answer */
  int ended; /* the channel is being destroyed: what it still says does not count */
  question q[2];
  char name[LONGEST_NAME + 1]; /* "": no name */
};

struct nq_resolver {
  pthread_mutex_t lock;
  lookup *queued, **tail;
  size_t waiting; /* length of queued */
  int running, closed;
  int wake[2];

  lookup *active;
  size_t nactive, nsocks;
  struct pollfd socks[SOCKETS];
  lookup *owner[SOCKETS];
  size_t turn;

  nq_addr servers[NQ_RESOLVE_SERVERS];
  size_t nservers;
  uint64_t timeout;
  int rotate;
  char *hosts_file;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

/* Once per process, and never undone: another thread may be using it. It holds no memory. */
static void library_begin(void) { library_status = ares_library_init(ARES_LIB_INIT_ALL); }

const char *nq_resolver_library(void) { return ares_version(NULL); }

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

/* ---- life ---- */

static int open_wake(int wake[2]) {
  if (pipe(wake) != 0)
    return -1;
  for (int i = 0; i < 2; i++)
    if (fcntl(wake[i], F_SETFL, O_NONBLOCK) != 0 || fcntl(wake[i], F_SETFD, FD_CLOEXEC) != 0) {
      close(wake[0]);
      close(wake[1]);
      return -1;
    }
  return 0;
}

int nq_resolver_new(nq_resolver **out, const nq_resolver_options *o) {
  *out = NULL;
  if (!o->nservers || o->nservers > NQ_RESOLVE_SERVERS)
    return NQ_ERR_ARG;
  pthread_once(&library_once, library_begin);
  nq_resolver *r = library_status == ARES_SUCCESS ? calloc(1, sizeof *r) : NULL;
  if (!r)
    return NQ_ERR_NOMEM;
  if (o->hosts_file && !(r->hosts_file = strdup(o->hosts_file))) {
    free(r);
    return NQ_ERR_NOMEM;
  }
  if (open_wake(r->wake) != 0) {
    free(r->hosts_file);
    free(r);
    return NQ_ERR_SYS;
  }
  if (pthread_mutex_init(&r->lock, NULL) != 0) {
    close(r->wake[0]);
    close(r->wake[1]);
    free(r->hosts_file);
    free(r);
    return NQ_ERR_NOMEM;
  }
  r->tail = &r->queued;
  r->nservers = o->nservers;
  memcpy(r->servers, o->servers, o->nservers * sizeof *o->servers);
  r->timeout = o->timeout ? o->timeout : 5 * SEC;
  if (r->timeout > 86400 * SEC)
    r->timeout = 86400 * SEC;
  r->rotate = o->rotate;
  *out = r;
  return NQ_DONE;
}

static void lookup_free(lookup *k) {
  k->ended = 1;
  if (k->channel)
    ares_destroy(k->channel);
  free(k);
}

static void free_all(lookup **list) {
  while (*list) {
    lookup *k = *list;
    *list = k->next;
    lookup_free(k);
  }
}

void nq_resolver_free(nq_resolver *r) {
  if (!r)
    return;
  free_all(&r->active);
  free_all(&r->queued);
  close(r->wake[0]);
  close(r->wake[1]);
  pthread_mutex_destroy(&r->lock);
  free(r->hosts_file);
  free(r);
}

static void wake_up(nq_resolver *r) {
  ssize_t n = write(r->wake[1], "", 1);
  (void)n; /* full means that it is readable, which is all we want */
}

void nq_resolver_close(nq_resolver *r) {
  pthread_mutex_lock(&r->lock);
  r->closed = 1;
  pthread_mutex_unlock(&r->lock);
  wake_up(r);
}

int nq_resolver_ask(nq_resolver *r, const char *name, size_t len, uint64_t id) {
  lookup *k = calloc(1, sizeof *k);
  if (!k)
    return NQ_ERR_NOMEM;
  k->r = r;
  k->id = id;
  if (len && name[len - 1] == '.')
    len--;
  if (len <= LONGEST_NAME && !memchr(name, 0, len))
    memcpy(k->name, name, len);
  pthread_mutex_lock(&r->lock);
  int rc = r->closed ? NQ_ERR_STATE : r->waiting == NQ_RESOLVE_WAITING ? NQ_ERR_FULL : !r->running;
  if (rc >= 0) {
    *r->tail = k;
    r->tail = &k->next;
    r->waiting++;
    r->running = 1;
  }
  pthread_mutex_unlock(&r->lock);
  if (rc < 0)
    free(k);
  else
    wake_up(r);
  return rc;
}

/* ---- one lookup; in the thread that waits ---- */

/* c-ares tells which sockets it has, and what it waits for on them. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable) {
  lookup *k = data;
  nq_resolver *r = k->r;
  size_t i = 0;
  while (i < r->nsocks && r->socks[i].fd != fd)
    i++;
  if (!readable && !writable) {
    if (i < r->nsocks) {
      r->nsocks--;
      r->socks[i] = r->socks[r->nsocks];
      r->owner[i] = r->owner[r->nsocks];
    }
    return;
  }
  if (i == r->nsocks) {
    if (i == SOCKETS)
      return;
    r->nsocks++;
  }
  r->socks[i] = (struct pollfd){.fd = fd, .events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0))};
  r->owner[i] = k;
}

static void on_found(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
  question *q = arg;
  (void)timeouts;
  if (!q->of->ended) {
    q->of->open--;
    q->status = status;
    for (struct ares_addrinfo_node *node = info ? info->nodes : NULL; node && q->n < HALF; node = node->ai_next) {
      nq_addr *a = &q->found[q->n];
      if (node->ai_addrlen > sizeof a->in6)
        continue;
      memcpy(&a->sa, node->ai_addr, node->ai_addrlen);
      a->len = node->ai_addrlen;
      q->n++;
    }
  }
  ares_freeaddrinfo(info);
}

/* The servers, from the one whose turn it is. */
static int set_servers(nq_resolver *r, ares_channel_t *channel) {
  char list[NQ_RESOLVE_SERVERS * 80];
  size_t used = 0;
  for (size_t i = 0; i < r->nservers; i++) {
    if (i)
      list[used++] = ',';
    nq_addr_format(&r->servers[(r->turn + i) % r->nservers], list + used, 79);
    used += strlen(list + used);
  }
  if (r->rotate)
    r->turn = (r->turn + 1) % r->nservers;
  return ares_set_servers_ports_csv(channel, list);
}

static int open_channel(lookup *k) {
  nq_resolver *r = k->r;
  int ms = (int)(r->timeout / MS ? r->timeout / MS : 1);
  struct ares_options o = {0};
  /* The name as it is given, to these servers: nothing of the system's settings but its hosts file. */
  o.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_EDNS;
  o.lookups = (char *)"fb";
  o.resolvconf_path = (char *)"/dev/null";
  o.hosts_path = r->hosts_file;
  /* Three rounds take as long as a lookup may, or longer: a try's time doubles, and half of it is left to chance. */
  o.timeout = ms > 4 ? ms / 4 : 1;
  o.maxtimeout = ms;
  o.tries = TRIES;
  o.sock_state_cb = on_socket;
  o.sock_state_cb_data = k;
  int mask = ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF | ARES_OPT_TIMEOUTMS | ARES_OPT_MAXTIMEOUTMS |
             ARES_OPT_TRIES | ARES_OPT_NOROTATE | ARES_OPT_SOCK_STATE_CB | ARES_OPT_QUERY_CACHE;
  if (r->hosts_file)
    mask |= ARES_OPT_HOSTS_FILE;
  int status = ares_init_options(&k->channel, &o, mask);
  return status == ARES_SUCCESS ? set_servers(r, k->channel) : status;
}

static void start(lookup *k) {
  nq_resolver *r = k->r;
  int status = k->name[0] ? open_channel(k) : ARES_EBADNAME;
  k->deadline = now_ns() + r->timeout * r->nservers;
  for (int i = 0; i < 2; i++) {
    k->q[i].of = k;
    k->q[i].status = status == ARES_SUCCESS ? ARES_ETIMEOUT : status;
  }
  if (status != ARES_SUCCESS)
    return;
  struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_DGRAM};
  k->open = 2;
  for (int i = 0; i < 2; i++) {
    hints.ai_family = i ? AF_INET : AF_INET6;
    ares_getaddrinfo(k->channel, k->name, NULL, &hints, on_found, &k->q[i]);
  }
}

/* Of two failures: that there is no such name is certain; that there is no address says least. */
static int worse(int six, int four) {
  if (six == ARES_ENOTFOUND || four == ARES_ENOTFOUND)
    return ARES_ENOTFOUND;
  return four == ARES_ENODATA ? six : four;
}

static void answer(lookup *k, nq_answer *a) {
  memset(a, 0, sizeof *a);
  a->id = k->id;
  for (int i = 0; i < 2; i++) {
    memcpy(a->addr + a->n, k->q[i].found, k->q[i].n * sizeof *a->addr);
    a->n += k->q[i].n;
  }
  if (!a->n)
    a->status = worse(k->q[0].status, k->q[1].status);
  if (!a->n && !a->status)
    a->status = ARES_ENODATA;
  lookup_free(k);
}

/* ---- the thread that waits ---- */

/* Begins what was asked. 0: nothing is left, or it is closed. */
static int admit(nq_resolver *r) {
  lookup *begun = NULL, **last = &begun;
  pthread_mutex_lock(&r->lock);
  if (r->closed)
    free_all(&r->active);
  int on = !r->closed && (r->queued || r->active);
  if (!on)
    r->running = 0;
  while (on && r->queued && r->nactive < NQ_RESOLVE_ACTIVE) {
    *last = r->queued;
    r->queued = r->queued->next;
    last = &(*last)->next;
    *last = NULL;
    r->waiting--;
    r->nactive++;
  }
  if (!r->queued)
    r->tail = &r->queued;
  pthread_mutex_unlock(&r->lock);
  while (begun) {
    lookup *k = begun;
    begun = k->next;
    start(k);
    k->next = r->active;
    r->active = k;
  }
  return on;
}

static lookup *take_finished(nq_resolver *r) {
  uint64_t now = now_ns();
  for (lookup **p = &r->active; *p; p = &(*p)->next) {
    lookup *k = *p;
    if (k->open && now < k->deadline)
      continue;
    *p = k->next;
    r->nactive--;
    return k;
  }
  return NULL;
}

/* Milliseconds until something is due, rounded up. */
static int until_due(nq_resolver *r) {
  uint64_t now = now_ns(), wait = 3600 * SEC;
  for (lookup *k = r->active; k; k = k->next) {
    struct timeval tv, *due = ares_timeout(k->channel, NULL, &tv);
    uint64_t mine = k->deadline > now ? k->deadline - now : 0;
    if (due && (uint64_t)due->tv_sec * SEC + (uint64_t)due->tv_usec * 1000 < mine)
      mine = (uint64_t)due->tv_sec * SEC + (uint64_t)due->tv_usec * 1000;
    if (mine < wait)
      wait = mine;
  }
  return (int)((wait + MS - 1) / MS);
}

static void drain(int fd) {
  char bytes[64];
  while (read(fd, bytes, sizeof bytes) == sizeof bytes)
    ;
}

static void tick(nq_resolver *r) {
  struct pollfd ready[SOCKETS + 1]; /* c-ares opens and closes sockets while these are looked at */
  lookup *owner[SOCKETS];
  size_t n = r->nsocks;
  memcpy(ready, r->socks, n * sizeof *ready);
  memcpy(owner, r->owner, n * sizeof *owner);
  ready[n] = (struct pollfd){.fd = r->wake[0], .events = POLLIN};
  int found = poll(ready, (nfds_t)(n + 1), until_due(r));
  if (found < 0 && errno != EINTR) { /* no memory, or a lowered limit of descriptors: each is asked, now and then */
    struct timespec pause = {.tv_nsec = (long)MS};
    nanosleep(&pause, NULL);
    for (size_t i = 0; i <= n; i++)
      ready[i].revents = ready[i].events;
    found = 1;
  }
  if (found > 0) {
    if (ready[n].revents)
      drain(r->wake[0]);
    for (size_t i = 0; i < n; i++) {
      short got = ready[i].revents;
      if (got)
        ares_process_fd(owner[i]->channel, got & ~POLLOUT ? ready[i].fd : ARES_SOCKET_BAD,
                        got & POLLOUT ? ready[i].fd : ARES_SOCKET_BAD);
    }
  }
  for (lookup *k = r->active; k; k = k->next)
    ares_process_fd(k->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* its timeouts */
}

int nq_resolver_wait(nq_resolver *r, nq_answer *a) {
  while (admit(r)) {
    lookup *k = take_finished(r);
    if (k) {
      answer(k, a);
      return 1;
    }
    tick(r);
  }
  return 0;
}
