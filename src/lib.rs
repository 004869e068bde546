//! Gracekeeper keeps liveness, readiness and startup probes, preStop hooks and grace periods right on plain Kubernetes
//! Deployments, and reports what it found.
//!
//! Suggested reading order: [`api`] (what users write), [`core`] (what is decided; pure), [`controller`] (what is
//! gathered and carried out; IO). `ARCHITECTURE.md` has the map and the invariants.

pub mod api;
pub mod commands;
pub mod core;
