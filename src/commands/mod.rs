//! The subcommands of the `gracekeeper` binary. They write to the writers they are given and return an outcome; the
//! binary alone knows of standard output and exit codes.

pub mod plan;
