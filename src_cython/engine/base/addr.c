#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

int nq_addr_equal(const nq_addr *a, const nq_addr *b) {
  if (!a->len || !b->len)
    return a->len == b->len;
  if (a->sa.sa_family != b->sa.sa_family)
    return 0;
  if (a->sa.sa_family == AF_INET)
    return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
  return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
         !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr);
}

int nq_addr_is_wildcard(const nq_addr *a) {
  if (!a->len)
    return 0;
  if (a->sa.sa_family == AF_INET)
    return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
  static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
  return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) || !memcmp(&a->in6.sin6_addr, mapped, sizeof mapped);
}

void nq_addr_to_loopback(nq_addr *a) {
  if (!nq_addr_is_wildcard(a))
    return;
  if (a->sa.sa_family == AF_INET)
    a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  else if (IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr))
    a->in6.sin6_addr = in6addr_loopback;
  else /* ::ffff:127.0.0.1 */
    memcpy(&a->in6.sin6_addr.s6_addr[12], &(uint32_t){htonl(INADDR_LOOPBACK)}, 4);
}

int nq_addr_is_mapped(const nq_addr *a) {
  return a->len && a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr);
}

/* The scope of an address, a number or the name of an interface; 0 when it is neither. */
static uint32_t parse_scope(const char *s) {
  uint64_t n = 0;
  size_t i = 0;
  for (; s[i] >= '0' && s[i] <= '9' && n <= UINT32_MAX; i++)
    n = n * 10 + (uint64_t)(s[i] - '0');
  if (i && !s[i])
    return n <= UINT32_MAX ? (uint32_t)n : 0;
  return if_nametoindex(s);
}

int nq_addr_parse(nq_addr *a, const char *host, uint16_t port) {
  memset(a, 0, sizeof *a);
  if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
    a->in.sin_family = AF_INET;
    a->in.sin_port = htons(port);
    a->len = sizeof a->in;
    return 0;
  }
  char text[INET6_ADDRSTRLEN];
  const char *percent = strchr(host, '%');
  size_t len = percent ? (size_t)(percent - host) : strlen(host);
  if (len >= sizeof text)
    return -1;
  memcpy(text, host, len);
  text[len] = 0;
  uint32_t scope = percent ? parse_scope(percent + 1) : 0;
  if ((percent && !scope) || inet_pton(AF_INET6, text, &a->in6.sin6_addr) != 1) {
    memset(a, 0, sizeof *a);
    return -1;
  }
  a->in6.sin6_family = AF_INET6;
  a->in6.sin6_port = htons(port);
  a->in6.sin6_scope_id = scope;
  a->len = sizeof a->in6;
  return 0;
}

char *nq_addr_format(const nq_addr *a, char *buf, size_t cap) {
  char host[INET6_ADDRSTRLEN] = "?", name[IF_NAMESIZE + 1] = "", scope[IF_NAMESIZE + 2] = "";
  if (!cap)
    return buf;
  if (!a->len) {
    snprintf(buf, cap, "-");
  } else if (a->sa.sa_family == AF_INET) {
    inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof host);
    snprintf(buf, cap, "%s:%u", host, nq_addr_port(a));
  } else if (nq_addr_is_mapped(a)) {
    inet_ntop(AF_INET, &a->in6.sin6_addr.s6_addr[12], host, sizeof host);
    snprintf(buf, cap, "%s:%u", host, nq_addr_port(a));
  } else {
    inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof host);
    if (a->in6.sin6_scope_id && if_indextoname(a->in6.sin6_scope_id, name))
      snprintf(scope, sizeof scope, "%%%s", name);
    else if (a->in6.sin6_scope_id)
      snprintf(scope, sizeof scope, "%%%u", (unsigned)a->in6.sin6_scope_id);
    snprintf(buf, cap, "[%s%s]:%u", host, scope, nq_addr_port(a));
  }
  return buf;
}

uint16_t nq_addr_port(const nq_addr *a) {
  return !a->len ? 0 : ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}
