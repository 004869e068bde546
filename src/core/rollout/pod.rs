//! A pod, reduced to what evidence reads. A watch parses straight into it.

mod raw;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};

use crate::core::shutdown::Ending;

/// Longest message that is kept of a pod, in characters.
const MAX_MESSAGE: usize = 256;
/// A pod that was ready for so long has not flapped before.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(10);

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// Namespace.
    pub namespace: Box<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
    /// Uid of the ReplicaSet that controls it.
    pub revision: Box<str>,
    /// When the API server took it.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What it has left then, by its own settings.
    pub ending: Option<Box<Ending>>,
    /// Phase.
    pub phase: Phase,
    /// Why it is in this phase, as the pod says: Evicted, Preempting, NodeLost.
    pub reason: Box<str>,
    /// Whether something outside of it ends it: eviction, preemption, a taint, a node that shuts down.
    pub disrupted: bool,
    /// Whether that is an eviction by the API, as a drain does it.
    pub evicted: bool,
    /// Its node; empty as long as it has none.
    pub node: Box<str>,
    /// Whether it has a node.
    pub scheduled: bool,
    /// Why it has none.
    pub unschedulable: Box<str>,
    /// Whether it is ready.
    pub ready: bool,
    /// Since when it is ready, or not.
    pub ready_since: Option<Timestamp>,
    /// Readiness gates that are not true.
    pub gates_waiting: Vec<Box<str>>,
    /// Init containers and sidecars first, then the others.
    pub containers: Vec<ContainerView>,
    /// Whether it was ever ready, as far as was seen ([`Self::following`]), or can be told from its times.
    pub was_ready: bool,
    /// How often it was seen to lose its readiness without a restart, after less than 10 minutes each. Not in the pod:
    /// kept from look to look.
    pub ready_losses: u32,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Not all containers were started.
    #[default]
    Pending,
    /// Bound, all containers created.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them badly; or the node gave it up.
    Failed,
    /// The node does not answer, or a phase that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerView {
    /// Name.
    pub name: Box<str>,
    /// Whether it is an init container; sidecars are.
    pub init: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether its startup probe has passed, or it has none and runs.
    pub started: bool,
    /// Restarts.
    pub restarts: u32,
    /// Since when it runs.
    pub running_since: Option<Timestamp>,
    /// Why it waits.
    pub waiting: Option<Waiting>,
    /// How it ended, while it is not running.
    pub terminated: Option<Terminated>,
    /// How its last run ended.
    pub last: Option<Terminated>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "raw::Waiting")]
pub struct Waiting {
    /// CamelCase word.
    pub reason: Box<str>,
    /// Message, made fit to show.
    pub message: Box<str>,
    /// What the message says of a pull.
    pub pull: Pull,
}

/// What is known of a pull that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// Not why.
    #[default]
    Unexplained,
    /// An answer of the registry that another try does not change.
    Refused,
    /// Something else, such as a registry that does not answer.
    Unanswered,
}

impl Pull {
    /// Reads the whole message: the cause stands at its end, where a long one is cut off.
    fn read(message: &str) -> Self {
        const DEFINITE: &[&str] = &[
            "not found",
            "manifest unknown",
            "denied",
            "forbidden",
            "unauthorized",
            "no match for platform",
            "no matching manifest",
            "invalid reference",
        ];
        let message = message.to_ascii_lowercase();
        // Since Kubernetes 1.32 a back-off repeats why the last try failed; before, it only names the image.
        let cause = message
            .strip_prefix("back-off pulling image")
            .map_or(Some(&*message), |rest| rest.split_once("errimagepull").map(|(_, cause)| cause));
        match cause {
            None => Self::Unexplained,
            Some(cause) if cause.trim().is_empty() => Self::Unexplained,
            Some(cause) if DEFINITE.iter().any(|answer| cause.contains(answer)) => Self::Refused,
            Some(_) => Self::Unanswered,
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// CamelCase word.
    #[serde(default)]
    pub reason: Box<str>,
    /// Exit code.
    #[serde(default, rename = "exitCode")]
    pub exit: i32,
    /// Message, made fit to show.
    #[serde(default, deserialize_with = "message")]
    pub message: Box<str>,
    /// When it began.
    #[serde(default, rename = "startedAt")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, rename = "finishedAt")]
    pub finished: Option<Timestamp>,
}

impl ContainerView {
    /// Whether it ended and will be started again: a restart that its count does not show yet.
    pub fn is_to_restart(&self) -> bool {
        let is_in_back_off = self.waiting.as_ref().is_some_and(|waiting| &*waiting.reason == "CrashLoopBackOff");
        is_in_back_off || self.terminated.as_ref().is_some_and(|ended| !self.init || ended.exit != 0)
    }
}

impl ContainerView {
    /// Whether it waits for a restart, and ended before this moment.
    pub fn waits_since(&self, moment: Timestamp) -> bool {
        let ended = self.last.as_ref().or(self.terminated.as_ref()).and_then(|ended| ended.finished);
        let is_in_back_off = self.waiting.as_ref().is_some_and(|waiting| &*waiting.reason == "CrashLoopBackOff");
        is_in_back_off && ended.is_some_and(|ended| ended < moment)
    }
}

impl PodView {
    /// This pod, with what was seen of it before.
    #[must_use]
    pub fn following(mut self, before: Option<&Self>) -> Self {
        self.was_ready |= self.ready;
        if let Some(before) = before.filter(|before| before.uid == self.uid) {
            // What waits for a finalizer is deleted once more, with no grace: its containers had what they were given first.
            if self.ending.as_ref().is_some_and(|ending| ending.grace == 0) && before.ending.is_some() {
                self.ending.clone_from(&before.ending);
            }
            let lost = before.ready && !self.ready && !self.deleting && before.restarts() == self.restarts();
            let stopped = self.containers.iter().any(|container| !container.init && container.running_since.is_none());
            self.was_ready |= before.was_ready;
            // What it lost long ago, and then had for long, is another story.
            let lasted = self.ready_since.zip(before.ready_since).map(|(lost, got)| lost.duration_since(got));
            let is_fresh = !lost || lasted.is_none_or(|lasted| lasted < FORGOTTEN);
            let known = if is_fresh { before.ready_losses } else { 0 };
            self.ready_losses = known.saturating_add(u32::from(lost && !stopped));
        }
        self
    }

    /// Whether a pod that is not ready must have been so before: the kubelet says that it is not before it starts the
    /// first container, and says it anew only after the pod was ready. Times are whole seconds.
    fn must_have_been_ready(&self) -> bool {
        let began = |container: &ContainerView| {
            let ended = container.last.as_ref().or(container.terminated.as_ref());
            ended.and_then(|ended| ended.started).or(container.running_since)
        };
        let mut regular = self.containers.iter().filter(|container| !container.init);
        let turned = self.ready_since.filter(|_| !self.ready);
        turned.is_some_and(|turned| regular.any(|container| began(container).is_some_and(|began| began < turned)))
    }

    /// Whether it says nothing that the other one does not say: its bookkeeping version apart, it is equal.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let with_version_of = |pod: &Self| Self { resource_version: self.resource_version.clone(), ..pod.clone() };
        *self == with_version_of(other)
    }

    /// Seconds from the start of its last container to ready, when it is ready and never restarted.
    pub fn start_seconds(&self) -> Option<i64> {
        let started = self.containers.iter().filter_map(|container| container.running_since).max()?;
        let ready = self.ready_since.filter(|_| self.ready && self.restarts() == 0)?;
        Some(ready.as_second() - started.as_second()).filter(|seconds| *seconds >= 0)
    }

    /// Restarts of all containers.
    pub fn restarts(&self) -> u32 {
        self.containers.iter().fold(0, |sum, container| sum.saturating_add(container.restarts))
    }

    /// Whether it says nothing about its version: on its way out, or ended from outside.
    pub fn is_excluded(&self) -> bool {
        self.deleting
            || self.disrupted
            || self.phase == Phase::Unknown
            || self.phase == Phase::Succeeded
            || self.phase == Phase::Failed && self.left_by_node()
            || self.is_cut_off()
    }

    fn left_by_node(&self) -> bool {
        // What kubelets and controllers write when the pod is not to blame.
        const REASONS: &[&str] = &[
            "Evicted",
            "Preempting",
            "Preempted",
            "NodeLost",
            "NodeShutdown",
            "Shutdown",
            "Terminated",
            "NodeAffinity",
            "OutOfcpu",
            "OutOfmemory",
            "OutOfpods",
            "UnexpectedAdmissionError",
        ];
        REASONS.contains(&&*self.reason)
    }

    /// A node that does not answer: its controller sets the pod to not ready, and nobody is left to say so of the
    /// containers.
    pub fn is_cut_off(&self) -> bool {
        let mut regular = self.containers.iter().filter(|container| !container.init).peekable();
        !self.ready
            && self.gates_waiting.is_empty()
            && regular.peek().is_some()
            && regular.all(|container| container.ready)
    }
}

/// A text of somebody else, made fit for a status line: no control characters, no runs of white space, no more than
/// [`MAX_MESSAGE`] characters.
pub fn printable(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let word = word.chars().filter(|c| !is_invisible(*c));
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
        if line.len() > MAX_MESSAGE * 4 {
            break;
        }
    }
    match line.char_indices().nth(MAX_MESSAGE) {
        None => line,
        Some(_) => line.chars().take(MAX_MESSAGE - 3).chain("...".chars()).collect(),
    }
}

/// Marks that change the direction of text, and characters of no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    Ok(printable(&Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?.unwrap_or_default()).into())
}

impl<'de> Deserialize<'de> for PodView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        raw::Pod::deserialize(deserializer).map(Into::into)
    }
}
