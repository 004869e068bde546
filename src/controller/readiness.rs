//! A registry of named parts: `/readyz` names those that are not ready, and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// All parts.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<BTreeMap<String, Result<(), String>>>>);

/// One part.
#[derive(Clone)]
pub(crate) struct Part {
    name: String,
    all: Readiness,
}

impl Readiness {
    /// Registers a part that is not ready yet.
    pub(crate) fn part(&self, name: impl Into<String>, why_not: &str) -> Part {
        let part = Part { name: name.into(), all: self.clone() };
        part.not_ready(why_not);
        part
    }

    /// `Ok` when all parts are ready, else one line per part that is not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<String> =
            parts.iter().filter_map(|(name, state)| Some(format!("{name}: {}", state.as_ref().err()?))).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
    }

    /// Whether all parts whose name begins so are ready.
    pub(crate) fn are_ready(&self, prefix: &str) -> bool {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(name, _)| name.starts_with(prefix)).all(|(_, state)| state.is_ok())
    }

    fn set(&self, name: &str, state: Result<(), String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), state);
    }
}

impl Part {
    pub(crate) fn ready(&self) {
        self.all.set(&self.name, Ok(()));
    }

    pub(crate) fn not_ready(&self, why: &str) {
        self.all.set(&self.name, Err(why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_what_is_not_ready() {
        let all = Readiness::default();
        let (pods, policies) = (all.part("watch Pod", "first list"), all.part("watch HealthPolicy", "first list"));
        pods.ready();
        assert_eq!(all.check(), Err("watch HealthPolicy: first list".into()));
        policies.ready();
        assert_eq!(all.check(), Ok(()));
        pods.not_ready("403");
        assert_eq!(all.check(), Err("watch Pod: 403".into()));
    }
}
