//! How a pod that was told to go ended.

use jiff::Timestamp;

use crate::core::plan::timings::MINIMUM_STOP_SECONDS;
use crate::core::rollout::{ContainerView, PodView};

/// Exit code of a container that SIGKILL ended.
const SIGKILLED: i32 = 137;
/// A status has whole seconds, rounded down: a difference of two of them is right to a second.
const ROUNDING_SECONDS: i64 = 1;

/// What a pod on its way out was given, by its own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When its deletion was accepted: the API server's `deletionTimestamp` is that and the grace period.
    pub began: Timestamp,
    /// Its grace period in seconds.
    pub grace: i64,
    /// Whether that is less than its spec has: a person, a node or an eviction is in a hurry.
    pub is_cut_short: bool,
    /// preStop hooks by the names of their containers.
    pub hooks: Vec<(Box<str>, Hook)>,
}

/// A preStop hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Sleeps for so many seconds.
    Sleep(i64),
    /// Takes an unknown time.
    Unknown,
}

/// How the containers of a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All by themselves, the last one so many seconds after SIGTERM.
    Finished {
        /// The kubelet's late start included.
        seconds: i64,
    },
    /// One of them by SIGKILL, when its grace period was over.
    Killed {
        /// The time after SIGTERM that it had.
        after_seconds: i64,
    },
}

/// How a pod ended that was told to go; `None` where that says nothing about the time that it needs: it was in a hurry,
/// it ended before it was told to, nobody saw the end, or nobody can tell when SIGTERM came.
pub fn ended(pod: &PodView) -> Option<End> {
    let ending = pod.ending.as_deref().filter(|ending| ending.grace > 0 && !ending.is_cut_short)?;
    // Sidecars are told to stop after the others, when that is cannot be told.
    let ends = pod.containers.iter().filter(|container| !container.init).filter_map(|one| end_of(one, ending));
    ends.reduce(|one, other| match (one, other) {
        (End::Finished { seconds: one }, End::Finished { seconds: other }) => End::Finished { seconds: one.max(other) },
        (End::Killed { after_seconds: one }, End::Killed { after_seconds: other }) => {
            End::Killed { after_seconds: one.max(other) }
        }
        (killed @ End::Killed { .. }, _) | (_, killed) => killed,
    })
}

fn end_of(container: &ContainerView, ending: &Ending) -> Option<End> {
    let hook = ending.hooks.iter().find(|(name, _)| *name == container.name).map(|(_, hook)| *hook);
    let sleep = match hook {
        None => 0,
        Some(Hook::Sleep(seconds)) => seconds.clamp(0, ending.grace),
        Some(Hook::Unknown) => return None,
    };
    let terminated = container.terminated.as_ref()?;
    let took = terminated.finished?.as_second().saturating_sub(ending.began.as_second()).saturating_sub(sleep);
    let allowed = (ending.grace - sleep).max(MINIMUM_STOP_SECONDS);
    if terminated.exit == SIGKILLED {
        // Sooner it was somebody else: the kernel for want of memory, or a probe before the deletion.
        let is_over = took >= allowed - ROUNDING_SECONDS && &*terminated.reason != "OOMKilled";
        return is_over.then_some(End::Killed { after_seconds: allowed });
    }
    (took >= -ROUNDING_SECONDS).then_some(End::Finished { seconds: took.max(0) })
}
