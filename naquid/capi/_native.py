"""The functions of the C API that the extension module holds, under their own names."""

from .. import _naquid as _n

CapiConn = _n.CapiConn
CapiEndpoint = _n.CapiEndpoint
CapiGroup = _n.CapiGroup
CapiLoop = _n.CapiLoop
CapiResolver = _n.CapiResolver
EngineLimits = _n.EngineLimits
Tls = _n.Tls
capi_hooks = _n.capi_hooks
capi_pause = _n.capi_pause
parse_address = _n.parse_address

nq_alarm_t = _n.nq_alarm_t
nq_conn_t = _n.nq_conn_t
nq_hdmap_t = _n.nq_hdmap_t
nq_rpc_t = _n.nq_rpc_t
nq_stream_t = _n.nq_stream_t

for _api in (_n.CapiAlarmApi, _n.CapiBatchApi, _n.CapiConnApi, _n.CapiHdmapApi, _n.CapiRpcApi, _n.CapiStreamApi):
    for _name in dir(_api):
        if _name.startswith("nq_"):
            globals()[_name] = getattr(_api, _name)
