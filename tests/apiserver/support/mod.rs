//! What the tests stand on: one cluster, a namespace and an operator per test, waiting on conditions, the audit log.

mod audit;
mod cluster;
pub(crate) mod namespace;
pub(crate) mod operator;
mod waiting;

pub(crate) use cluster::Cluster;
pub(crate) use namespace::TestNamespace;
pub(crate) use operator::Operator;
pub(crate) use waiting::{eventually, stays};
