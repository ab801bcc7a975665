/* udp_steer.c: which socket of a reuseport group gets a datagram. */
#include <errno.h>
#ifdef __linux__
#include <linux/filter.h>
#endif

#include "io/udp_impl.h"

#ifdef __linux__
#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif

int nq_udp_steer(nq_io *io, const nq_steering *s) {
  /* The program sees the UDP payload; a load beyond its end returns 0. */
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 2, 0),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, s->short_byte),
      BPF_JUMP(BPF_JMP | BPF_JA, 3, 0, 0),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, s->long_present), /* long header */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, s->long_byte),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, s->members),
      BPF_STMT(BPF_RET | BPF_A, 0),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (!s->members)
    return -EINVAL;
  return setsockopt(io->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) ? -errno : 0;
}
#else
int nq_udp_steer(nq_io *io, const nq_steering *s) {
  (void)io;
  (void)s;
  return -EOPNOTSUPP;
}
#endif
