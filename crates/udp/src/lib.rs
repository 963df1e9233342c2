//! Batched UDP datagrams with offload and graceful degradation.
