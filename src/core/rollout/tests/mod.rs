//! Claims about the gate.
