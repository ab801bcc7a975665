/* route.h: which object a connection ID stands for in an endpoint. */
#ifndef NQ_ROUTE_H
#define NQ_ROUTE_H

struct nq_conn;
struct nq_endpoint;

typedef enum nq_route_kind { NQ_ROUTE_CONN = 1, NQ_ROUTE_CLOSING } nq_route_kind;
/* What a connection (nq_conn) and a closing record (nq_closing) begin with. */
typedef struct nq_route {
  nq_route_kind kind;
} nq_route;

/* Nothing in the endpoint stands for the connection any more: its connection IDs, and the tokens of its peer's
 * stateless resets. */
void nq_route_forget(struct nq_endpoint *ep, struct nq_conn *c);
/* A client connection goes on from another socket: its routes go with it (RFC 9000 9.2). */
void nq_route_move(struct nq_endpoint *from, struct nq_endpoint *to, struct nq_conn *c);

#endif
