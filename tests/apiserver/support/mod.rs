//! What the tests stand on: one cluster, a namespace and an operator per test, waiting on conditions, the audit log.

mod audit;
pub(crate) mod cluster;
pub(crate) mod fault_proxy;
pub(crate) mod namespace;
pub(crate) mod operator;
pub(crate) mod waiting;
mod writer;

pub(crate) use audit::{Audit, Entry};
pub(crate) use cluster::Cluster;
pub(crate) use namespace::TestNamespace;
pub(crate) use operator::Operator;
pub(crate) use waiting::{eventually, stays};
pub(crate) use writer::Writer;
