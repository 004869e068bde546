//! Claims about the gate.

mod blaming;
mod capacity;
mod classes;
mod examples;
mod explore;
mod look;
mod model;
mod rows;
mod story;
