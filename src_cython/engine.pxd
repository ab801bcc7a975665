# engine.pxd: what the binding uses of engine/include/engine.h, the one header it may include. The parts name it `en`.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "engine.h" nogil:
    ctypedef uint64_t nq_handle

    ctypedef struct nq_loop:
        pass
    ctypedef struct nq_hdmap:
        pass
    ctypedef struct nq_group:
        pass
    ctypedef struct nq_tls:
        pass
    ctypedef struct nq_env:
        pass
    ctypedef struct nq_backend:
        const char *name

    enum:
        NQ_DONE
        NQ_ERR_NOMEM
        NQ_ERR_STALE
        NQ_ERR_STATE
        NQ_ERR_ARG
        NQ_ERR_TOOBIG
        NQ_ERR_FULL
        NQ_ERR_SYS
        NQ_ERR_FORKED
    const char *nq_strerror(int err)

    enum:
        NQ_CODE_OK
        NQ_CODE_REFUSED
        NQ_STREAM_UNKNOWN_PROTOCOL
        NQ_CODE_FRAME_ERROR
        NQ_CODE_TOO_BIG
        NQ_CODE_OVERLOAD
        NQ_CODE_CLOSED
        NQ_CODE_INTERNAL
        NQ_CODE_SHUTDOWN

    enum:
        NQ_EV_NONE
        NQ_EV_CONN_OPEN
        NQ_EV_CONN_CLOSE
        NQ_EV_CONN_FREED
        NQ_EV_STREAM_OPEN
        NQ_EV_STREAM_DATA
        NQ_EV_STREAM_RECORD
        NQ_EV_RPC_REQUEST
        NQ_EV_RPC_NOTIFY
        NQ_EV_RPC_REPLY
        NQ_EV_RPC_CANCEL
        NQ_EV_STREAM_FIN
        NQ_EV_STREAM_RESET
        NQ_EV_STREAM_STOP
        NQ_EV_STREAM_WRITABLE
        NQ_EV_STREAM_ACKED
        NQ_EV_STREAM_CLOSE
        NQ_EV_SEND_ACKED
        NQ_EV_SEND_LOST
        NQ_EV_RETURNED
        NQ_EV_DATAGRAM
        NQ_EV_PONG
        NQ_EV_ALARM
        NQ_EV_TASK
        NQ_EV_LOG
        NQ_EV_HANDSHAKE_FAILED

    enum:
        NQ_EVF_CLIENT
        NQ_EVF_OUTGOING
        NQ_EVF_UNI
        NQ_EVF_LOCAL
        NQ_EVF_REMOTE
        NQ_EVF_LAST
        NQ_EVF_DELIVERED

    enum:
        NQ_CALL_TIMEOUT
        NQ_CALL_GONE
        NQ_CALL_TOOBIG
    enum:
        NQ_RPC_TOOBIG

    enum:
        NQ_WHY_APP
        NQ_WHY_TRANSPORT
        NQ_WHY_TLS
        NQ_WHY_IDLE
        NQ_WHY_HANDSHAKE_TIMEOUT
        NQ_WHY_RESET
        NQ_WHY_VERSION
        NQ_WHY_SYSTEM

    ctypedef struct nq_event:
        uint8_t kind
        uint8_t flags
        int16_t type
        uint32_t msgid
        nq_handle handle
        nq_handle conn
        uint64_t value
        uint64_t code
        void *user
        const uint8_t *data
        size_t len

    # ---- base/addr.h ----
    ctypedef struct nq_addr:
        unsigned int len
    int nq_addr_equal(const nq_addr *a, const nq_addr *b)
    int nq_addr_parse(nq_addr *a, const char *host, uint16_t port)
    char *nq_addr_format(const nq_addr *a, char *buf, size_t cap)
    int nq_addr_is_mapped(const nq_addr *a)
    uint16_t nq_addr_port(const nq_addr *a)

    # ---- io/sim.h ----
    enum:
        NQ_SIM_ALWAYS
    ctypedef struct nq_sim:
        uint64_t now
        uint64_t delay, jitter
        uint32_t loss, dup, corrupt
        int cut
        nq_addr cut_to
        size_t mtu
        uint64_t rate
        uint64_t sent, lost, duplicated
        nq_env env
    ctypedef struct nq_sim_host:
        nq_sim *sim
        nq_addr v4, v6
        int any
    void nq_sim_init(nq_sim *s, uint64_t seed)
    void nq_sim_free(nq_sim *s)
    const nq_backend nq_sim_backend
    int nq_sim_rebind_host(nq_sim *s, const nq_addr *host)
    void nq_sim_advance(nq_sim *s, uint64_t to)
    uint64_t nq_sim_arrival(const nq_sim_host *h)

    # ---- base/limit.h ----
    ctypedef struct nq_limits:
        uint64_t handshake_timeout
        uint64_t idle_timeout
        uint64_t keep_alive
        uint64_t max_message_size
    ctypedef struct nq_limit_info:
        const char *name
        uint64_t dflt
        uint64_t min
        uint64_t max
        const char *unit
        const char *text
    void nq_limits_default(nq_limits *l)
    const nq_limit_info *nq_limits_check(const nq_limits *l)
    const nq_limit_info *nq_limits_row(int i)

    # ---- tls/context.h ----
    ctypedef struct nq_tls_blob:
        const char *path
        const uint8_t *data
        size_t len
    ctypedef struct nq_tls_options:
        int server
        nq_tls_blob cert
        nq_tls_blob key
        nq_tls_blob ca
        const char *password
        size_t password_len
        int insecure
        int verify_client
        const uint8_t *alpn
        size_t alpn_len
        const char *groups
        const char *ciphersuites
        const char *keylog_path
    int nq_tls_new(nq_tls **out, const nq_tls_options *o, char *err, size_t errlen)
    nq_tls *nq_tls_ref(nq_tls *t)
    void nq_tls_unref(nq_tls *t)
    int nq_tls_is_server(const nq_tls *t)
    void nq_tls_trouble(nq_tls *t, char *buf, size_t cap)
    int nq_tls_trouble_news(nq_tls *t, char *buf, size_t cap)
    enum:
        NQ_TLS_NAME_COMMON
        NQ_TLS_NAME_DNS
        NQ_TLS_NAME_IP
        NQ_TLS_NAME_EMAIL
        NQ_TLS_NAME_URI
    ctypedef int (*nq_tls_on_name)(void *u, int kind, const uint8_t *name, size_t len) noexcept
    int nq_tls_names(const uint8_t *der, size_t len, nq_tls_on_name on_name, void *u)
    const char *nq_tls_alert_name(unsigned alert, char *buf, size_t cap)

    # ---- loop ----
    ctypedef struct nq_loop_options:
        const nq_env *env
        const nq_backend *backend
        void *backend_ctx
        int portable
        int no_gso
        int no_gro
        uint64_t timer_floor
        uint64_t busy_poll
        uint32_t socket_buffer
        void (*returned)(nq_loop *l) noexcept nogil
    int nq_loop_new(nq_loop **out, const nq_loop_options *o)
    void nq_loop_free(nq_loop *l)
    void nq_loop_adopt(nq_loop *l)
    int nq_loop_is_owner(const nq_loop *l)
    int nq_loop_inherited(const nq_loop *l)
    int nq_loop_poll(nq_loop *l, int64_t max_wait)
    const nq_event *nq_loop_events(const nq_loop *l)
    void nq_loop_undelivered(nq_loop *l, uint32_t i)
    int nq_loop_timing(const nq_loop *l)
    void nq_loop_time(nq_loop *l, const nq_event *next)
    int nq_loop_flush(nq_loop *l)
    void nq_loop_wake(nq_loop *l)
    int nq_loop_fd(nq_loop *l)
    int nq_loop_arm(nq_loop *l)
    uint64_t nq_loop_deadline_in(const nq_loop *l)
    void nq_loop_set_busy_poll(nq_loop *l, uint64_t ns)
    uint64_t nq_loop_spin_left(const nq_loop *l)
    uint64_t nq_loop_now(const nq_loop *l)
    int nq_loop_errno(const nq_loop *l)
    void *nq_loop_context(const nq_loop *l)
    void nq_loop_set_context(nq_loop *l, void *ctx)

    ctypedef struct nq_loop_stats:
        uint64_t ticks, events
        uint64_t busy_polls, busy_poll_hits
        uint64_t connections, streams, alarms, pending_calls
        uint64_t held_connections
        uint64_t reply_holds
        uint64_t rx_calls, rx_messages, rx_datagrams, rx_bytes, rx_dropped
        uint64_t tx_calls, tx_messages, tx_datagrams, tx_bytes, tx_errors
        uint64_t accepted, refused, retries_sent, resets_sent, version_negotiations, forwarded
        uint64_t handshakes
        uint64_t handshakes_failed_tls, handshakes_failed_timeout, handshakes_failed_protocol
        uint64_t handshakes_failed_closed, handshakes_failed_system
        uint64_t lost_packets
        uint64_t too_big
        uint64_t datagrams_dropped
        uint64_t datagrams_dropped_memory, datagrams_dropped_unhandled, datagrams_dropped_tasks
        uint64_t datagrams_dropped_queue, datagrams_dropped_unsent
        uint64_t rx_kernel_dropped
        uint64_t unreachable
        uint64_t mtu_fallbacks
        uint64_t send_buffer_bytes
        int gso, gro, mmsg, ecn
    void nq_loop_get_stats(const nq_loop *l, nq_loop_stats *s)
    ctypedef enum nq_drop:
        NQ_DROP_UNHANDLED
        NQ_DROP_TASKS
    void nq_loop_drop(nq_loop *l, nq_drop why)

    # ---- handler maps ----
    ctypedef enum nq_stream_kind:
        NQ_KIND_RAW
        NQ_KIND_RECORD
        NQ_KIND_RPC
    nq_hdmap *nq_hdmap_new()
    nq_hdmap *nq_hdmap_ref(nq_hdmap *m)
    void nq_hdmap_unref(nq_hdmap *m)
    int nq_hdmap_add(nq_hdmap *m, const char *name, size_t namelen, nq_stream_kind kind, uint64_t call_timeout,
                     void *user)
    int nq_hdmap_raw(nq_hdmap *m, nq_stream_kind kind, void *user)
    int nq_hdmap_uni(nq_hdmap *m, void *user)
    void nq_hdmap_speak_raw(nq_hdmap *m)
    int nq_hdmap_alpn(nq_hdmap *m, const char *alpn, size_t len, nq_hdmap *other)
    int nq_hdmap_native(nq_hdmap *m, const char *name, size_t namelen, const naquid_handler *native)
    int nq_stream_set_native(nq_loop *l, nq_handle s, const naquid_handler *native)
    const naquid_api *nq_native_api()
    enum:
        NAQUID_NATIVE_VERSION
    const char *NAQUID_HANDLER_CAPSULE
    const char *NAQUID_API_CAPSULE
    ctypedef struct naquid_api:
        pass
    ctypedef struct naquid_handler:
        uint32_t version

    # ---- endpoints ----
    ctypedef struct nq_endpoint_options:
        nq_addr local
        int reuseport
        nq_tls *tls
        nq_hdmap *hdmap
        nq_limits limits
        void *user
        const char *secret
        size_t secret_len
        int always_retry
        int has_socket, socket
    int nq_endpoint_open(nq_loop *l, const nq_endpoint_options *o, uint32_t *id)
    int nq_endpoint_address(const nq_loop *l, uint32_t id, nq_addr *local)
    int nq_endpoint_refuse(nq_loop *l, uint32_t id)
    int nq_endpoint_error(nq_loop *l, uint32_t id)
    int nq_endpoint_close(nq_loop *l, uint32_t id)
    int nq_endpoint_fd(const nq_loop *l, uint32_t id)
    nq_group *nq_group_new(uint32_t members)
    void nq_group_unref(nq_group *g)
    int nq_group_join(nq_group *g, nq_loop *l, uint32_t number)
    void nq_group_refuse(nq_group *g)

    # ---- connections ----
    ctypedef struct nq_connect_options:
        nq_addr remote
        uint32_t endpoint
        nq_tls *tls
        const char *server_name
        nq_hdmap *hdmap
        nq_limits limits
        void *user
        uint32_t version
    int nq_conn_connect(nq_loop *l, const nq_connect_options *o, nq_handle *conn)
    int nq_conn_create(nq_loop *l, const nq_connect_options *o, nq_handle *conn)
    int nq_conn_start(nq_loop *l, nq_handle conn, const nq_addr *remote)
    int nq_conn_fail(nq_loop *l, nq_handle conn, uint32_t why, uint64_t code, const char *reason)
    int nq_conn_alive(const nq_loop *l, nq_handle conn)
    void *nq_conn_user(const nq_loop *l, nq_handle conn)
    int nq_conn_set_user(nq_loop *l, nq_handle conn, void *user)
    int nq_conn_set_hdmap(nq_loop *l, nq_handle conn, nq_hdmap *m)
    int nq_conn_is_client(const nq_loop *l, nq_handle conn)
    int nq_conn_close(nq_loop *l, nq_handle conn, uint64_t code, const char *reason, size_t reason_len, int now)
    int nq_conn_owe(nq_loop *l, nq_handle conn, int n)
    int nq_conn_reconnect(nq_loop *l, nq_handle conn, uint64_t delay, const nq_addr *remote)
    uint64_t nq_conn_reconnect_wait(const nq_loop *l, nq_handle conn)
    enum:
        NQ_HOLD_TASKS
        NQ_HOLD_REPLIES
    int nq_conn_hold(nq_loop *l, nq_handle conn, unsigned reason, int on)
    int nq_conn_free(nq_loop *l, nq_handle conn)
    int nq_conn_flush(nq_loop *l, nq_handle conn)
    int nq_conn_ping(nq_loop *l, nq_handle conn)
    int nq_conn_send_datagram(nq_loop *l, nq_handle conn, const uint8_t *data, size_t len)
    size_t nq_conn_max_datagram(const nq_loop *l, nq_handle conn)
    int nq_conn_migrate(nq_loop *l, nq_handle conn)
    int nq_conn_fd(const nq_loop *l, nq_handle conn)

    ctypedef struct nq_conn_info:
        int state
        nq_addr local
        nq_addr remote
        uint32_t version
        uint64_t smoothed_rtt, latest_rtt, min_rtt, rttvar, cwnd, bytes_in_flight
        uint64_t packets_sent, packets_received, packets_lost, bytes_sent, bytes_received, bytes_lost
        uint64_t streams, queued
        uint64_t max_udp_payload
        size_t alpn_len
        char *alpn
        char *cipher
        char *group
    enum:
        NQ_CONN_IDLE
        NQ_CONN_CONNECTING
        NQ_CONN_OPEN
        NQ_CONN_CLOSING
        NQ_CONN_CLOSED
        NQ_CONN_WAITING
    int nq_conn_get_info(const nq_loop *l, nq_handle conn, nq_conn_info *info)
    size_t nq_conn_peer_cert(const nq_loop *l, nq_handle conn, unsigned i, uint8_t *buf, size_t cap)

    # ---- streams ----
    ctypedef struct nq_stream_options:
        nq_stream_kind kind
        int uni
        const char *name
        size_t name_len
        uint64_t call_timeout
        void *user
    int nq_stream_open(nq_loop *l, nq_handle conn, const nq_stream_options *o, nq_handle *stream)
    int nq_stream_alive(const nq_loop *l, nq_handle s)
    void *nq_stream_user(const nq_loop *l, nq_handle s)
    int nq_stream_set_user(nq_loop *l, nq_handle s, void *user)
    nq_handle nq_stream_conn(const nq_loop *l, nq_handle s)
    int64_t nq_stream_id(const nq_loop *l, nq_handle s)
    int nq_stream_is_outgoing(const nq_loop *l, nq_handle s)
    int nq_stream_send(nq_loop *l, nq_handle s, const uint8_t *data, size_t len)
    int nq_stream_lend(nq_loop *l, nq_handle s, const uint8_t *data, size_t len, void *lender)
    void *nq_loop_returned(nq_loop *l)
    int nq_stream_send_marked(nq_loop *l, nq_handle s, const uint8_t *data, size_t len, void *user)
    uint64_t nq_stream_queued(const nq_loop *l, nq_handle s)
    int nq_stream_finish(nq_loop *l, nq_handle s)
    int nq_stream_reset(nq_loop *l, nq_handle s, uint64_t code)
    int nq_stream_stop(nq_loop *l, nq_handle s, uint64_t code)
    int nq_stream_close(nq_loop *l, nq_handle s)
    int nq_stream_writable(nq_loop *l, nq_handle s)
    int nq_stream_pause(nq_loop *l, nq_handle s)
    int nq_stream_resume(nq_loop *l, nq_handle s)

    # ---- RPC ----
    int nq_rpc_call(nq_loop *l, nq_handle s, int16_t type, const uint8_t *data, size_t len, uint64_t timeout,
                    void *user, uint32_t *msgid)
    ctypedef struct nq_payload:
        const uint8_t *data
        size_t len
    int nq_rpc_call_row(nq_loop *l, nq_handle s, int16_t type, const nq_payload *v, uint32_t n, uint64_t timeout,
                        void *user, uint32_t *msgid, uint32_t *made)
    int nq_rpc_max_msgid(nq_loop *l, nq_handle s, uint32_t max)
    int nq_rpc_last_msgid(nq_loop *l, nq_handle s, uint32_t last)
    void *nq_rpc_pending(const nq_loop *l, nq_handle s, uint32_t msgid)
    void *nq_rpc_cancel(nq_loop *l, nq_handle s, uint32_t msgid)
    int nq_rpc_deliver(nq_loop *l, const nq_event *e, void **user)
    int nq_rpc_notify(nq_loop *l, nq_handle s, int16_t type, const uint8_t *data, size_t len)
    int nq_rpc_reply(nq_loop *l, nq_handle s, uint32_t msgid, int16_t result, const uint8_t *data, size_t len)

    # ---- alarms ----
    int nq_alarm_new(nq_loop *l, void *user, nq_handle *alarm)
    int nq_alarm_set(nq_loop *l, nq_handle alarm, uint64_t deadline)
    void *nq_alarm_free(nq_loop *l, nq_handle alarm)
    void *nq_alarm_user(const nq_loop *l, nq_handle alarm)
    int nq_alarm_alive(const nq_loop *l, nq_handle alarm)

    # ---- other threads ----
    ctypedef enum nq_post_op:
        NQ_POST_SEND
        NQ_POST_CALL
        NQ_POST_NOTIFY
        NQ_POST_REPLY
        NQ_POST_STREAM_CLOSE
        NQ_POST_CONN_CLOSE
        NQ_POST_TASK
    int nq_loop_post(nq_loop *l, nq_post_op op, nq_handle h, int16_t type, uint32_t msgid, uint64_t timeout,
                     void *user, const uint8_t *data, size_t len)

    # ---- dns/resolve.h ----
    enum:
        NQ_RESOLVE_SERVERS
        NQ_RESOLVE_ADDRESSES
    ctypedef struct nq_resolver:
        pass
    ctypedef struct nq_resolver_options:
        const nq_addr *servers
        size_t nservers
        uint64_t timeout
        int rotate
        const char *hosts_file
    ctypedef struct nq_answer:
        uint64_t id
        int status
        size_t n
        nq_addr *addr
    int nq_resolver_new(nq_resolver **out, const nq_resolver_options *o)
    void nq_resolver_free(nq_resolver *r)
    int nq_resolver_ask(nq_resolver *r, const char *name, size_t len, uint64_t id)
    int nq_resolver_wait(nq_resolver *r, nq_answer *a)
    void nq_resolver_close(nq_resolver *r)

    # ---- versions ----
    const char *nq_version_library(uint32_t i, const char **name)
    const char *nq_version_build()
