"""Builds ngtcp2 and its TLS glue, straight from the C files: it needs no configure step of its own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from . import patch, tools
from .fetch import Archive, unpack
from .report import VendorError, say
from .tools import Compiler


class Mend(NamedTuple):
    """An exact substitution in the unpacked source."""

    file: str
    old: str  # is there exactly once
    new: str
    why: str  # one line; `naquid versions` shows it


# Of a thousand connections few are in the processor's caches. What a packet touches is reached by pointers, and each
# would be waited for. Here the engine asks for it while it handles packets of others: each step follows the pointers
# that the one before has fetched. Nothing depends on it.
PREFETCH = """\
static void prefetch(const void *p, size_t n) {
  uintptr_t end = (uintptr_t)p + n;

  for (uintptr_t at = (uintptr_t)p & ~(uintptr_t)63; p && at < end; at += 64) {
    __builtin_prefetch((const void *)at);
  }
}

static const void *prefetch_first(const ngtcp2_ksl *ksl) {
  return ksl->root && ksl->root->leaf && ksl->root->n ? ksl->root->nodes[0].data : NULL;
}

void ngtcp2_conn_prefetch(const ngtcp2_conn *conn, int64_t stream_id, int step) {
  const ngtcp2_pktns *pktns = &conn->pktns;
  const ngtcp2_crypto_km *km[] = {pktns->crypto.rx.ckm, pktns->crypto.tx.ckm};
  const ngtcp2_rtb_entry *ent;
  const ngtcp2_strm *strm;
  size_t i;

  if (step == 0) { /* all but the connection IDs and what is for new paths */
    prefetch(conn, offsetof(ngtcp2_conn, dcid.dtr));
    prefetch(&conn->dcid.dtr.bound.rb, sizeof(conn->dcid.dtr.bound.rb));
    prefetch(&conn->dcid.dtr.retired.rb, sizeof(conn->dcid.dtr.retired.rb));
    prefetch(&conn->dcid.seqgap, offsetof(ngtcp2_conn, rx.path_challenge) - offsetof(ngtcp2_conn, dcid.seqgap));
    prefetch(&conn->rx.ccerr, offsetof(ngtcp2_conn, path_history) - offsetof(ngtcp2_conn, rx.ccerr));
    prefetch(&conn->idle_ts, sizeof(*conn) - offsetof(ngtcp2_conn, idle_ts));
    return;
  }
  if (step == 1) {
    prefetch(km[0], sizeof(*km[0]));
    prefetch(km[1], sizeof(*km[1]));
    prefetch(pktns->crypto.rx.hp_ctx.native_handle, 256);
    prefetch(pktns->crypto.tx.hp_ctx.native_handle, 256);
    prefetch(pktns->rtb.ents.root, sizeof(*pktns->rtb.ents.root));
    prefetch(pktns->acktr.ents.root, sizeof(*pktns->acktr.ents.root));
    prefetch(pktns->rx.pngap.gap.root, sizeof(*pktns->rx.pngap.gap.root));
    prefetch(conn->scid.set.root, sizeof(*conn->scid.set.root));
    prefetch(conn->scid.used.q, 1);
    prefetch(conn->remote.transport_params, sizeof(*conn->remote.transport_params));
    prefetch(conn->crypto.decrypt_buf.base, 320);
    prefetch(conn->crypto.decrypt_hp_buf.base, 32);
    prefetch(conn->strms.keys, 128);
    prefetch(conn->strms.data, 128);
    prefetch(conn->strms.psl, 1);
    return;
  }
  ent = prefetch_first(&pktns->rtb.ents);
  strm = ngtcp2_conn_find_stream((ngtcp2_conn *)conn, stream_id);
  if (step == 2) {
    for (i = 0; i < 2; i++) {
      if (km[i]) {
        prefetch(km[i]->aead_ctx.native_handle, 640);
        prefetch(km[i]->iv.base, 1);
      }
    }
    prefetch(ent, sizeof(*ent));
    prefetch(prefetch_first(&pktns->acktr.ents), 1);
    if (!ngtcp2_pq_empty(&conn->scid.used)) {
      prefetch(ngtcp2_struct_of(ngtcp2_pq_top(&conn->scid.used), ngtcp2_scid, pe), sizeof(ngtcp2_scid));
    }
    prefetch(strm, sizeof(*strm));
    return;
  }
  if (step == 4) {
    if (strm && strm->tx.acked_offset) {
      prefetch(strm->tx.acked_offset->gap.root, sizeof(*strm->tx.acked_offset->gap.root));
    }
    return;
  }
  if (ent) {
    prefetch(ent->frc, sizeof(*ent->frc));
  }
  if (strm) {
    prefetch(strm->tx.acked_offset, sizeof(*strm->tx.acked_offset));
    prefetch(strm->rx.rob, sizeof(*strm->rx.rob));
  }
}
"""

# What an upstream version needs mended, as few as can be.
# Probe timeout: it must run while a packet that asks for an acknowledgement is in flight (RFC 9002 6.2.1), or what was
# lost is never found lost: once that fills the window, the connection is silent. Up to 1.25.0 it does not run for
# PATH_RESPONSE, for probes, and for packets whose content has arrived by others or is not wanted any more. Nor does it
# run again when an established server was at its amplification limit on a new path: what upstream does while the
# handshake runs (conn_read_handshake) is needed then, too.
# Idle timeout: it is agreed on by the handshake (RFC 9000 10.1), which has a timeout of its own. Upstream lets this
# side's value end a handshake that was allowed to take longer.
# What became of a packet: the counters do not tell which sizes arrive, and never take back a loss that was none.
MENDED = (
    Mend(
        "lib/ngtcp2_conn.c",
        "      (pktns->rtb.num_pto_eliciting == 0 ||\n       !(conn->flags",
        "      (pktns->rtb.num_ack_eliciting == 0 ||\n       !(conn->flags",
        "a probe timeout runs while any packet that asks for an acknowledgement is in flight (RFC 9002 6.2.1)",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "    if (ns[i] == NULL || ns[i]->rtb.num_pto_eliciting == 0 ||\n",
        "    if (ns[i] == NULL ||\n        (i == NGTCP2_PKTNS_ID_APPLICATION ? ns[i]->rtb.num_ack_eliciting\n"
        "                                          : ns[i]->rtb.num_pto_eliciting) == 0 ||\n",
        "it counts from the last such packet, and lets the peer delay its acknowledgement (RFC 9002 6.2.1)",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "      if (pktns->rtb.num_pto_eliciting == 0) {\n        pktns->rtb.probe_pkt_left = 0;\n",
        "      if (pktns->rtb.num_ack_eliciting == 0) {\n        pktns->rtb.probe_pkt_left = 0;\n",
        "a probe is sent even if nothing in flight is to be sent again (RFC 9002 6.2.4)",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "  return conn_recv_cpkt(conn, path, pi, pkt, pktlen, ts);\n",
        "  rv = conn_recv_cpkt(conn, path, pi, pkt, pktlen, ts);\n"
        "  if (rv == 0 && conn->server && conn->cstat.loss_detection_timer == UINT64_MAX &&\n"
        "      conn_server_tx_left(conn, &conn->dcid.current)) {\n"
        "    ngtcp2_conn_set_loss_detection_timer(conn, ts);\n"
        "    if (ngtcp2_conn_loss_detection_expiry(conn) <= ts) {\n"
        "      rv = ngtcp2_conn_on_loss_detection_timer(conn, ts);\n    }\n  }\n  return rv;\n",
        "a server that was at its amplification limit runs it again when a datagram arrives (RFC 9002 6.2.2.1)",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "  /* TODO Remote max_idle_timeout becomes effective after handshake\n     completion. */\n",
        "  if (!conn_is_tls_handshake_completed(conn) &&\n"
        "      conn->local.settings.handshake_timeout != UINT64_MAX) {\n    return UINT64_MAX;\n  }\n",
        "the idle timeout runs from the end of the handshake (RFC 9000 10.1)",
    ),
    Mend(
        "lib/includes/ngtcp2/ngtcp2.h",
        "  ngtcp2_recv_stop_sending recv_stop_sending;\n} ngtcp2_callbacks;\n",
        "  ngtcp2_recv_stop_sending recv_stop_sending;\n"
        "  void (*pkt_outcome)(ngtcp2_tstamp sent, size_t pktlen, int lost, void *user_data);\n} ngtcp2_callbacks;\n",
        "a callback tells of each packet sent on this path whether it arrived (RFC 8899 4.3)",
    ),
    Mend(
        "lib/ngtcp2_rtb.c",
        "        cc_ack.bytes_delivered += ent->pktlen;\n",
        "        if (conn->callbacks.pkt_outcome) {\n"
        "          conn->callbacks.pkt_outcome(ent->ts, ent->pktlen, 0, conn->user_data);\n        }\n"
        "        cc_ack.bytes_delivered += ent->pktlen;\n",
        "it is called when one was acknowledged, also after it was taken for lost",
    ),
    Mend(
        "lib/ngtcp2_rtb.c",
        "      rtb->rst->lost += ent->pktlen;\n",
        "      if (conn->callbacks.pkt_outcome) {\n"
        "        conn->callbacks.pkt_outcome(ent->ts, ent->pktlen, 1, conn->user_data);\n      }\n"
        "      rtb->rst->lost += ent->pktlen;\n",
        "and when one that is no probe of the path's MTU is taken for lost",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "          &pktns->acktr, &lfr.ack, type, ts, conn_compute_ack_delay(conn),\n",
        "          &pktns->acktr, &lfr.ack, type, ts,\n          vmsg ? 0 : conn_compute_ack_delay(conn),\n",
        "a packet with data has the acknowledgement that is owed, too (RFC 9000 13.2.1)",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "ngtcp2_duration ngtcp2_conn_compute_pto(const ngtcp2_conn *conn,\n",
        PREFETCH + "\nngtcp2_duration ngtcp2_conn_compute_pto(const ngtcp2_conn *conn,\n",
        "the memory of a connection can be asked for before its packet is read",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "ngtcp2_tstamp ngtcp2_conn_get_expiry2(const ngtcp2_conn *conn) {\n  ngtcp2_tstamp res",
        "ngtcp2_tstamp ngtcp2_conn_get_unpaced_expiry(const ngtcp2_conn *conn) {\n  ngtcp2_tstamp res",
        "when a connection may send next is told apart from its other timers,",
    ),
    Mend(
        "lib/ngtcp2_conn.c",
        "  return ngtcp2_min(res, conn->tx.pacing.next_ts);\n}\n",
        "  return res;\n}\n\n"
        "ngtcp2_tstamp ngtcp2_conn_get_pacing_expiry(const ngtcp2_conn *conn) {\n"
        "  return conn->tx.pacing.next_ts;\n}\n\n"
        "void ngtcp2_conn_rested(ngtcp2_conn *conn, ngtcp2_tstamp ts) {\n"
        "  if (conn->tx.pacing.next_ts < ts) {\n    conn->tx.pacing.next_ts = ts;\n  }\n}\n\n"
        "ngtcp2_tstamp ngtcp2_conn_get_expiry2(const ngtcp2_conn *conn) {\n"
        "  return ngtcp2_min(ngtcp2_conn_get_unpaced_expiry(conn), conn->tx.pacing.next_ts);\n}\n",
        "so that one with nothing to send need not wake for it, nor makes up for that time",
    ),
)

# Changes that are faults of the library, each with the report that upstream gets.
PATCHES = patch.series(Path(__file__).resolve().parents[1] / "ngtcp2" / "patches")

# The number is raised when the recipe itself changes in a way its flags and config.h do not show.
RECIPE = f"1 {MENDED} {PATCHES}"


def changes() -> list[str]:
    """What is not as upstream ships it, a line each."""
    return [item.why for item in MENDED] + [item.why for item in PATCHES]


# The engine is compiled with the same, or link-time optimisation could not inline across the two.
HARDENING = ("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")

_VARIANTS = {
    "release": ("-O3", "-DNDEBUG", *HARDENING),
    "debug": ("-O1", "-g"),
    "asan": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"),
    "fuzz": ("-O1", "-g", "-fsanitize=address,undefined,fuzzer-no-link", "-fno-omit-frame-pointer"),  # clang only
    "tsan": ("-O1", "-g", "-fsanitize=thread", "-fno-omit-frame-pointer"),
}
VARIANTS = tuple(_VARIANTS)

# Fat: the objects serve a link with and without link-time optimisation, and a different linker.
_GCC_RELEASE = ("-flto", "-ffat-lto-objects")
_COMMON = (
    "-std=gnu11", "-fPIC", "-fvisibility=hidden", "-w", "-D_GNU_SOURCE", "-DHAVE_CONFIG_H", "-DNGTCP2_STATICLIB",
)  # fmt: skip

_LINUX = """\
#define HAVE_ENDIAN_H 1
#define HAVE_BYTESWAP_H 1
#define HAVE_ASM_TYPES_H 1
#define HAVE_LINUX_NETLINK_H 1
#define HAVE_LINUX_RTNETLINK_H 1
#define HAVE_EXPLICIT_BZERO 1
#define HAVE_DECL_BE64TOH 1
#define HAVE_DECL_BSWAP_64 1
"""
_OTHER = """\
#define HAVE_DECL_BE64TOH 0
#define HAVE_DECL_BSWAP_64 0
"""
_CONFIG = """\
#define HAVE_ARPA_INET_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_NETINET_IP_H 1
#define HAVE_UNISTD_H 1
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define WORDS_BIGENDIAN 1
#endif
"""


def config_h() -> str:
    return _CONFIG + (_LINUX if sys.platform.startswith("linux") else _OTHER)


def flags(variant: str, compiler: Compiler) -> tuple[str, ...]:
    extra = _GCC_RELEASE if variant == "release" and compiler.is_gcc else ()
    return (*_COMMON, *_VARIANTS[variant], *extra)


def mend(root: Path) -> None:
    """Makes the changes of MENDED in an unpacked source. Raises VendorError when one no longer fits."""
    for item in MENDED:
        path = root / item.file
        text = path.read_text(encoding="utf-8")
        found = text.count(item.old)
        if found != 1:
            raise VendorError(
                f"{path.name} of this ngtcp2 has {found} times what vendor/recipe/ngtcp2.py expects once and mends: "
                f"{item.old!r}. Look whether upstream has mended it, then change or remove the entry of MENDED."
            )
        path.write_text(text.replace(item.old, item.new), encoding="utf-8")


def build(source: Archive, tls: Path, variant: str, compiler: Compiler, output: Path, work: Path) -> None:
    """Puts include/ngtcp2 and lib/libngtcp2.a (with the TLS glue) into output."""
    root = unpack(source, work / "src")
    mend(root)
    patch.apply(root, PATCHES)
    generated = work / "config"
    generated.mkdir()
    (generated / "config.h").write_text(config_h())
    lib, crypto = root / "lib", root / "crypto"
    sources = [*sorted(lib.glob("*.c")), crypto / "shared.c", crypto / "boringssl" / "boringssl.c"]
    folders = [generated, lib / "includes", lib, crypto / "includes", crypto, tls / "include"]
    say(f"compiling ngtcp2 {source.version} ({variant}, {len(sources)} files)")
    arguments = [*flags(variant, compiler), f"-ffile-prefix-map={root}=ngtcp2", *(f"-I{path}" for path in folders)]
    objects = tools.compile_all(compiler, arguments, sources, work / "objects", "ngtcp2")
    (output / "lib").mkdir(parents=True, exist_ok=True)
    tools.archive(compiler, objects, output / "lib" / "libngtcp2.a")
    headers = output / "include" / "ngtcp2"
    headers.mkdir(parents=True)
    for header in (*lib.glob("includes/ngtcp2/*.h"), *crypto.glob("includes/ngtcp2/*.h")):
        if not header.stem.startswith("ngtcp2_crypto_") or header.stem == "ngtcp2_crypto_boringssl":
            shutil.copy2(header, headers / header.name)
