//! Claims about the ledger.

mod stage;
mod traps;
