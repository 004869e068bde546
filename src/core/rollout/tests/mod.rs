//! Claims about the gate.

mod blaming;
mod capacity;
mod classes;
mod examples;
mod explore;
mod look;
mod model;
mod recovery;
mod rows;
mod story;
