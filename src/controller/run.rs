//! Starts everything, keeps it running, and ends it in order.

use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use kube::core::NamespaceResourceScope;
use kube::{Client, Config, Resource};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use super::availability::Availability;
use super::carry_out::CarryOut;
use super::events::Publisher;
use super::fence::Fence;
use super::http;
use super::lease::{Elector, Standing};
use super::memory::Memory;
use super::metrics::Metrics;
use super::policies::Policies;
use super::policy_object::StoredPolicy;
use super::preflight::{self, StartError};
use super::queue::WorkQueue;
use super::readiness::{Part, Readiness};
use super::ride_along::Detection;
use super::settings::Settings;
use super::slices;
use super::slim::{SlimAutoscaler, SlimBudget, SlimDeployment, SlimPod, SlimReplicaSet};
use super::watches::{Sink, StoredHealth, Watched, watch};
use super::watching::Watching;
use super::workloads::{Decisions, Workloads};
use super::world::{Key, Touched, World};
use super::writes::{Caller, chain};

/// What the names of the parts that watch begin with.
const WATCHES: &str = "watch ";

/// Delay of a policy's summary: the most that a fleet in motion can make us write is one status a second per policy.
const SUMMARY_DELAY: Duration = Duration::from_secs(1);

/// Runs the operator until it is told to stop by SIGTERM or SIGINT, or loses the lease.
pub async fn run(settings: Settings) -> Result<(), StartError> {
    let config = Config::infer().await.map_err(|error| StartError::NoCluster(chain(&error)))?;
    let (watching, calling) = clients(config, &settings)?;
    let metrics = Arc::new(Metrics::default());
    preflight::check(&calling, &settings, metrics.clone()).await?;

    let readiness = Readiness::default();
    let (stop, stopped) = signal::channel(false);
    let listener = http::bind(settings.listen).await.map_err(|error| StartError::Listen(settings.listen, error))?;
    let mut server = stopped.clone();
    let server = tokio::spawn(http::serve(listener, readiness.clone(), metrics.clone(), async move {
        let _ = server.wait_for(|stop| *stop).await;
    }));

    let fence = Fence::closed();
    let caller = Caller::new(calling, fence.clone(), settings.call_timeout, metrics.clone());
    let watched = Watching::new(settings.timing.renew_deadline);
    let operator = Operator::new(&settings, caller.clone(), metrics.clone(), readiness.clone(), watched.clone());
    let mut tasks = JoinSet::new();
    operator.watch_all(&mut tasks, &watching, &settings, &readiness);
    let policies = operator.policies.clone();
    tasks.spawn(
        policies
            .ride_along
            .clone()
            .watch(caller.clone(), settings.ride_along_policy.clone(), move || policies.look_at_all()),
    );

    let mut elector = Elector::new(
        caller,
        fence.clone(),
        (settings.lease_namespace.clone(), settings.lease_name.clone()),
        settings.identity.clone(),
        settings.timing,
        watched.clone(),
    );
    let lost = operator.lead(&mut elector, &readiness, &settings, terminated()).await;

    // Another replica may write from now on: nothing of ours may land any more, not even what is under way.
    if lost.is_some() {
        fence.close();
    }
    // From here on changes are not taken in any more, and whoever comes next has to know.
    watched.tick(false);
    // Ends in this order: no new work, the work under way, the lease, then the rest.
    operator.workloads.queue.close();
    operator.policies.queue.close();
    let grace = settings.call_timeout + Duration::from_secs(1);
    let _ = tokio::time::timeout(grace, operator.workers_end()).await;
    let result = if let Some(holder) = lost {
        Err(StartError::LeaseLost(holder))
    } else {
        elector.release().await;
        Ok(())
    };
    tasks.shutdown().await;
    let _ = stop.send(true);
    let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    result
}

/// Two clients: watches may be retried and idle, calls may not.
fn clients(config: Config, settings: &Settings) -> Result<(Client, Client), StartError> {
    let no_cluster = |error: kube::Error| StartError::NoCluster(chain(&error));
    let mut calling = config.clone();
    calling.default_retry = false;
    calling.read_timeout = Some(settings.call_timeout);
    calling.reset_reader_on_write = true;
    let watching = Client::try_from(config).map_err(no_cluster)?;
    Ok((watching, Client::try_from(calling).map_err(no_cluster)?))
}

/// Resolves on SIGTERM or SIGINT.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "a signal cannot be listened to");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
    tracing::info!("stopping");
}

struct Operator {
    world: Arc<World>,
    workloads: Arc<Workloads>,
    policies: Arc<Policies>,
    metrics: Arc<Metrics>,
    watching: Watching,
    /// True once this process leads.
    leads: signal::Sender<bool>,
    workers: tokio::sync::Mutex<JoinSet<()>>,
}

impl Operator {
    fn new(
        settings: &Settings,
        caller: Caller,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        watching: Watching,
    ) -> Self {
        let world = Arc::new(World::default());
        let publisher = Publisher { caller: caller.clone(), instance: settings.identity.clone() };
        let workloads = Arc::new(Workloads {
            world: world.clone(),
            queue: Arc::new(WorkQueue::new()),
            memory: Arc::new(Memory::new(settings.max_concurrent_enforcements)),
            metrics: metrics.clone(),
            carry_out: CarryOut { caller: caller.clone(), publisher: publisher.clone(), world: world.clone() },
            readiness,
            availability: Availability::new(world.clone(), watching.clone()),
            decisions: Decisions::new(),
        });
        let source = workloads.clone();
        metrics.set_workloads(Arc::new(move || source.availability.samples()));
        let policies = Arc::new(Policies {
            world: world.clone(),
            queue: Arc::new(WorkQueue::new()),
            caller,
            publisher,
            memory: Memory::new(0),
            metrics: metrics.clone(),
            ride_along: Detection::default(),
        });
        let leads = signal::channel(false).0;
        Self { world, workloads, policies, metrics, watching, leads, workers: tokio::sync::Mutex::default() }
    }

    fn watch_all(&self, tasks: &mut JoinSet<()>, client: &Client, settings: &Settings, readiness: &Readiness) {
        let (world, workloads, policies) = (self.world.clone(), self.workloads.clone(), self.policies.clone());
        let sink = Arc::new(Sink {
            world: self.world.clone(),
            metrics: self.metrics.clone(),
            touched: Box::new(move |touched| {
                if let Touched::Workload(key) = &touched {
                    workloads.availability.see(key);
                }
                let remembered = |key: &Key| workloads.memory.knows(key);
                spread(&world, &workloads.queue, &policies.queue, &remembered, touched);
            }),
            coalesce: jiff::SignedDuration::try_from(settings.coalesce).unwrap_or_default(),
        });
        let namespaces: Vec<Option<&str>> = if settings.namespaces.is_empty() {
            vec![None]
        } else {
            settings.namespaces.iter().map(|n| Some(n.as_str())).collect()
        };
        for namespace in namespaces {
            self.follow_slices(tasks, client, namespace);
            let mut start = Start { tasks, client, sink: &sink, readiness, namespace };
            start.kind::<StoredPolicy>(false);
            start.kind::<StoredHealth>(false);
            start.kind::<SlimDeployment>(false);
            start.kind::<SlimReplicaSet>(true);
            start.kind::<SlimPod>(true);
            start.kind::<SlimBudget>(false);
            start.kind::<SlimAutoscaler>(false);
        }
    }

    /// Only the leader times how long pods stay in their Services, and nobody waits for that: it is no part of being ready.
    fn follow_slices(&self, tasks: &mut JoinSet<()>, client: &Client, namespace: Option<&str>) {
        let api = namespace.map_or_else(|| Api::all(client.clone()), |one| Api::namespaced(client.clone(), one));
        let (world, metrics, namespace) = (self.world.clone(), self.metrics.clone(), namespace.map(str::to_owned));
        let mut leads = self.leads.subscribe();
        tasks.spawn(async move {
            if leads.wait_for(|leads| *leads).await.is_ok() {
                slices::follow(api, world, metrics, namespace).await;
            }
        });
    }

    /// Tries for the lease, works while it is held. `None` when told to stop, else whom the lease was lost to.
    async fn lead(
        &self,
        elector: &mut Elector,
        readiness: &Readiness,
        settings: &Settings,
        stop: impl Future<Output = ()>,
    ) -> Option<String> {
        let lease = readiness.part("lease", "not yet read");
        let mut stop = std::pin::pin!(stop);
        let mut leads = false;
        let mut cut_off = false;
        let mut last = None;
        loop {
            if leads && self.watching.tick(readiness.are_ready(WATCHES)) {
                tracing::info!("nobody watched for a while; looking at everything");
                self.queue_everything();
            }
            let standing = tokio::select! {
                standing = elector.attempt() => standing,
                () = &mut stop => return None,
            };
            match &standing {
                Standing::Leader if !leads => {
                    leads = true;
                    self.metrics.set_leader(true);
                    lease.ready();
                    tracing::info!(identity = settings.identity, "leading");
                    self.start_workers(settings, readiness.clone()).await;
                }
                Standing::Leader if cut_off => {
                    cut_off = false;
                    self.metrics.set_leader(true);
                    lease.ready();
                    tracing::info!("the lease is ours again; looking at everything");
                    self.queue_everything();
                }
                Standing::Leader => {}
                Standing::Follower(holder) if leads => return Some(holder.clone()),
                Standing::Follower(holder) => {
                    lease.ready(); // a standby is as ready as a leader: its picture is warm
                    if last.as_ref() != Some(&standing) {
                        tracing::info!(holder, "standing by");
                    }
                }
                Standing::Unknown(error) => {
                    // Nobody is known to have taken it, so most likely the API server is away. The fence is closed:
                    // nothing is written until the lease is ours again, or the process ends when it is another's.
                    if leads && !cut_off && !elector.fence.is_open() {
                        cut_off = true;
                        self.metrics.set_leader(false);
                    }
                    if !leads || cut_off {
                        lease.not_ready(error);
                    }
                    tracing::warn!(error, "the lease could not be written, trying again");
                }
            }
            if leads {
                self.workloads.catch_up();
            }
            last = Some(standing);
            tokio::select! {
                () = tokio::time::sleep(settings.timing.retry) => {}
                () = &mut stop => return None,
            }
        }
    }

    /// Starts the workers once the picture is complete: an empty picture would look like an empty cluster.
    async fn start_workers(&self, settings: &Settings, readiness: Readiness) {
        let mut workers = self.workers.lock().await;
        let (start, started) = signal::channel(false);
        let (world, workloads, policies) = (self.world.clone(), self.workloads.clone(), self.policies.clone());
        let (watching, leads) = (self.watching.clone(), self.leads.clone());
        workers.spawn(async move {
            while readiness.check().is_err() {
                if workloads.queue.is_closed() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            watching.tick(true);
            world.with(|picture| picture.departures.switch_on());
            leads.send_replace(true);
            let (deployments, all_policies) = queue_everything(&world, &workloads.queue, &policies.queue);
            tracing::info!(deployments, policies = all_policies, "the picture is complete, working");
            let _ = start.send(true);
        });
        for _ in 0..settings.max_concurrent_reconciles {
            let (workloads, mut started) = (self.workloads.clone(), started.clone());
            workers.spawn(async move {
                if started.wait_for(|go| *go).await.is_ok() {
                    workloads.work().await;
                }
            });
        }
        for _ in 0..2 {
            let (policies, mut started) = (self.policies.clone(), started.clone());
            workers.spawn(async move {
                if started.wait_for(|go| *go).await.is_ok() {
                    policies.work().await;
                }
            });
        }
    }

    fn queue_everything(&self) {
        queue_everything(&self.world, &self.workloads.queue, &self.policies.queue);
    }

    async fn workers_end(&self) {
        let mut workers = self.workers.lock().await;
        while workers.join_next().await.is_some() {}
    }
}

struct Start<'a> {
    tasks: &'a mut JoinSet<()>,
    client: &'a Client,
    sink: &'a Arc<Sink>,
    readiness: &'a Readiness,
    namespace: Option<&'a str>,
}

impl Start<'_> {
    fn kind<K: Watched + Resource<Scope = NamespaceResourceScope>>(&mut self, by_uid: bool) {
        let (api, place) = match self.namespace {
            Some(namespace) => (Api::namespaced(self.client.clone(), namespace), format!(" in {namespace}")),
            None => (Api::all(self.client.clone()), String::new()),
        };
        let part: Part =
            self.readiness.part(format!("{WATCHES}{}{place}", K::kind(&())), "the first list is not complete");
        self.tasks.spawn(watch::<K>(api, self.sink.clone(), part, by_uid, self.namespace.map(str::to_owned)));
    }
}

/// Every Deployment that a policy may concern and every policy is to be looked at; answers with how many.
fn queue_everything(world: &World, workloads: &WorkQueue<Key>, policies: &WorkQueue<Key>) -> (usize, usize) {
    let (deployments, all_policies) = world.with(|picture| {
        let governed = picture.governed_namespaces();
        let known = |key: &&Key| governed.contains(&key.namespace) || picture.healths.contains_key(*key);
        let deployments: Vec<Key> = picture.deployments.keys().filter(known).cloned().collect();
        (deployments, picture.policies.keys().cloned().collect::<Vec<_>>())
    });
    let counts = (deployments.len(), all_policies.len());
    for key in deployments {
        workloads.add(key);
    }
    for key in all_policies {
        policies.add(key);
    }
    counts
}

/// Puts what was touched into the queues.
fn spread(
    world: &World,
    workloads: &WorkQueue<Key>,
    policies: &WorkQueue<Key>,
    remembered: &dyn Fn(&Key) -> bool,
    touched: Touched,
) {
    match touched {
        Touched::Workload(key) => {
            let concerns = world.with(|picture| {
                picture.healths.contains_key(&key) || picture.policies_in(&key.namespace).next().is_some()
            });
            // One that is released, or gone, may still hold a slot or a refusal: it is looked at once more.
            if concerns || remembered(&key) {
                workloads.add(key);
            }
        }
        Touched::Namespace { namespace, not_before } => {
            let keys: Vec<Key> =
                world.with(|picture| picture.deployments_in(&namespace).map(|(key, _)| key.clone()).collect());
            let wait = not_before.map_or(Duration::ZERO, |at| {
                Duration::try_from(at.duration_since(super::clock::now())).unwrap_or_default()
            });
            for key in keys {
                workloads.add_after(key, wait);
            }
            spread(world, workloads, policies, remembered, Touched::Summaries(namespace));
        }
        Touched::Policy(key) => policies.add(key),
        Touched::Summaries(namespace) => {
            let keys: Vec<Key> =
                world.with(|picture| picture.policies_in(&namespace).map(|(key, _)| key.clone()).collect());
            for key in keys {
                policies.add_after(key, SUMMARY_DELAY);
            }
        }
    }
}
