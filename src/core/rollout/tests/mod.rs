//! Claims about the gate.

mod blaming;
mod capacity;
mod classes;
mod explore;
mod look;
mod model;
mod rows;
mod story;
