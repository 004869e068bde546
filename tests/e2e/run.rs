//! Runs the tests, several at a time where they share only the operator, and says of each one at its end what it measured.

use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};

use crate::support::waiting::TOO_LATE;
use crate::world::World;
use crate::{Test, seconds};

/// Modules whose tests share nothing but the operator, and mostly wait.
const SIDE_BY_SIDE: &[&str] = &["probes", "releases"];
/// Modules whose tests may be run again, when a time ran out: each try makes its own namespaces. A wrong reason, a changed
/// template, an exit code or a time that was too short is no matter of the machine, nor is a lost request.
const REPEATABLE: &[&str] = &["probes", "releases", "requests"];
/// A complaint with a line that begins so is of a lost request: no time that ran out beside it excuses it.
pub(crate) const LOST: &str = "lost: ";
/// How many of those run at a time, unless RUST_TEST_THREADS says another number.
const AT_A_TIME: usize = 3;
/// The longest one takes a good minute: a test that is not over by now never will be.
const LIMIT: Duration = Duration::from_secs(420);

/// What a test has to say, told in one piece when it is over.
#[derive(Default)]
struct Notes {
    figures: Mutex<Vec<String>>,
    complaints: Mutex<Vec<String>>,
    left_out: Mutex<Option<String>>,
}

tokio::task_local! {
    static NOTES: Arc<Notes>;
}

/// What was measured, by the test that runs in this task.
pub(crate) fn figure(words: String) {
    NOTES.with(|notes| notes.figures.lock().unwrap().push(words));
}

/// The test that runs in this task shows nothing here, and why.
pub(crate) fn left_out(why: &str) {
    NOTES.with(|notes| *notes.left_out.lock().unwrap() = Some(why.to_owned()));
}

/// How a test ended.
pub(crate) struct Ending {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) figures: Vec<String>,
    /// Empty: it passed.
    pub(crate) complaints: Vec<String>,
    /// Why there was nothing to show.
    pub(crate) left_out: Option<String>,
    /// How the first try ended, when this is the second.
    pub(crate) first: Option<Box<Self>>,
    evidence: Option<PathBuf>,
}

impl Ending {
    pub(crate) fn is_failure(&self) -> bool {
        !self.complaints.is_empty()
    }

    /// It passed at the second try. A flaky test is a bug; this is for machines that are shared with others.
    pub(crate) fn is_flaky(&self) -> bool {
        self.first.is_some() && !self.is_failure()
    }

    /// What failed first was that a time ran out; what comes after may be a consequence, unless it is a lost request.
    fn is_too_late(&self) -> bool {
        // The first line says where, the second one what.
        self.complaints.first().is_some_and(|complaint| complaint.lines().any(|line| line.starts_with(TOO_LATE)))
            && !self.complaints.iter().any(|complaint| complaint.contains(LOST))
    }

    pub(crate) fn verdict(&self) -> String {
        match (self.is_failure(), &self.left_out) {
            (true, _) => "FAILED".to_owned(),
            (false, Some(why)) => format!("left out: {why}"),
            (false, None) if self.is_flaky() => "FLAKY, ok at the second try".to_owned(),
            (false, None) => "ok".to_owned(),
        }
    }

    fn print(&self) {
        let mut text = format!("test {} ... {} ({})\n", self.name, self.verdict(), seconds(self.took));
        let complaints = self.complaints.iter().map(|complaint| complaint.replace('\n', "\n    "));
        for line in self.figures.iter().cloned().chain(complaints) {
            text.extend(["    ", &line, "\n"]);
        }
        if let Some(path) = &self.evidence {
            text.extend(["    what the cluster looked like: ", &path.display().to_string(), "\n"]);
        }
        // In one write: others may end at the same moment.
        print!("{text}");
    }
}

/// A panic inside of a test belongs to its other words; any other one is told at once.
fn complain_in_place() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let noted = NOTES.try_with(|notes| notes.complaints.lock().unwrap().push(info.to_string()));
        if noted.is_err() {
            before(info);
        }
    }));
}

/// Runs all of them in this order, neighbours of the modules above side by side.
pub(crate) async fn all(world: &'static World, tests: &[&'static Test]) -> Vec<Ending> {
    complain_in_place();
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|number| number.parse().ok());
    let at_a_time = threads.unwrap_or(AT_A_TIME).max(1);
    let is_shared = |test: &&'static Test| is_of(test, SIDE_BY_SIDE);
    let has_second_try = std::env::var_os("GRACEKEEPER_SECOND_TRY").is_some();
    let mut endings = Vec::new();
    for neighbours in tests.chunk_by(|one, next| is_shared(one) && is_shared(next)) {
        let running = stream::iter(neighbours).map(|test| one(world, test)).buffer_unordered(at_a_time);
        let mut together: Vec<Ending> = running.inspect(Ending::print).collect().await;
        together.sort_by_key(|ending| tests.iter().position(|test| test.0 == ending.name));
        for ending in &mut together {
            let again = neighbours.iter().find(|test| test.0 == ending.name && is_of(test, REPEATABLE));
            if let Some(test) = again.filter(|_| has_second_try && ending.is_too_late()) {
                let first = std::mem::replace(ending, one(world, test).await);
                ending.first = Some(Box::new(first));
                ending.print();
            }
        }
        endings.extend(together);
    }
    endings
}

fn is_of(test: &Test, modules: &[&str]) -> bool {
    test.0.split("::").next().is_some_and(|module| modules.contains(&module))
}

async fn one(world: &'static World, (name, run): &'static Test) -> Ending {
    let notes = Arc::new(Notes::default());
    let start = Instant::now();
    let mut task = tokio::spawn(NOTES.scope(notes.clone(), run(world)));
    let outcome = tokio::time::timeout(LIMIT, &mut task).await;
    let took = start.elapsed();
    task.abort();
    let mut complaints = std::mem::take(&mut *notes.complaints.lock().unwrap());
    match outcome {
        Ok(Err(error)) if complaints.is_empty() => complaints.push(error.to_string()),
        Ok(_) => {}
        Err(_) => complaints.push(format!("{TOO_LATE}not over after {}", seconds(LIMIT))),
    }
    let figures = std::mem::take(&mut *notes.figures.lock().unwrap());
    let evidence = if complaints.is_empty() {
        None
    } else {
        tokio::task::spawn_blocking(move || world.keep_evidence(name)).await.ok()
    };
    let left_out = notes.left_out.lock().unwrap().take();
    Ending { name, took, figures, complaints, left_out, first: None, evidence }
}
