//! Claims about the ledger.

mod classes;
mod clocks;
mod decoding;
mod figures;
mod gaps;
mod history;
mod merging;
mod oracle;
mod proofs;
mod size;
mod spending;
mod stage;
mod traps;
mod watching;
