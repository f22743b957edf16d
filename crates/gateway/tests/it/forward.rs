//! Requests that workers answer (REQ H6, K2, K3): a gateway before gateways, and before upstreams that misbehave.

mod balance;
mod bodies;
mod cluster;
mod discovery;
mod encrypted;
mod failures;
mod slow;
mod sockets;
