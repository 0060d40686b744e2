//! What the vendors owe their customer: the end of each effect, charged when it is due and told by an HTTP POST.

use std::{pin::Pin, sync::Arc, time::Duration};

use mainstay_actors::faults::Faults;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

/// How callbacks are sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallbackConfig {
    /// Tries for one callback, 1 to 10; any 2xx ends them. Default 3 (Retell: "up to 3 retries").
    pub tries: u32,
    /// The pause between two tries. Default 200 ms.
    #[serde(with = "mainstay_actors::duration")]
    pub pause: Duration,
    /// How long the receiver may take for one try. Default 10 s (Retell's `webhook_timeout_ms`).
    #[serde(with = "mainstay_actors::duration")]
    pub timeout: Duration,
    /// The share of callbacks that is sent twice, `0.0 ..= 1.0`. Default 0.
    pub duplicate_share: f64,
    /// The share of callbacks that is never sent, `0.0 ..= 1.0`. Default 0.
    pub drop_share: f64,
    /// Effects whose end is still to come, both vendors together, at least 1. A request beyond it is answered 503 without
    /// effect. Default 10,000.
    pub pending_max: usize,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self {
            tries: 3,
            pause: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            duplicate_share: 0.0,
            drop_share: 0.0,
            pending_max: 10_000,
        }
    }
}

impl CallbackConfig {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.require((1..=10).contains(&self.tries), "tries", || format!("{} is not within 1..=10", self.tries));
        for (name, share) in [("duplicate_share", self.duplicate_share), ("drop_share", self.drop_share)] {
            faults.require((0.0..=1.0).contains(&share), name, || format!("{share} is not within 0.0..=1.0"));
        }
        faults.require((1..=Semaphore::MAX_PERMITS).contains(&self.pending_max), "pending_max", || {
            format!("{} is not within 1..={}", self.pending_max, Semaphore::MAX_PERMITS)
        });
    }
}

/// Checks the address of a receiver.
pub(super) fn check_url(url: Option<&str>, faults: &mut Faults) {
    let bad = url.and_then(|url| reqwest::Url::parse(url).err());
    faults.require(bad.is_none(), "callback_url", || "must be an absolute http URL".into());
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Callbacks {
    config: CallbackConfig,
    client: reqwest::Client,
    places: Arc<Semaphore>,
    /// Bounded by the places: each job holds at least one.
    jobs: mpsc::UnboundedSender<Job>,
}

/// The right to owe the end of some effects.
pub(super) struct Places(OwnedSemaphorePermit);

impl Places {
    /// One place out of several.
    pub(super) fn one(&mut self) -> Option<Self> {
        self.0.split(1).map(Self)
    }
}

impl Callbacks {
    /// Makes the sender, and the set of tasks that does its work as long as the set is kept.
    pub(super) fn start(config: CallbackConfig) -> reqwest::Result<(Self, JoinSet<()>)> {
        // The vendor is another machine: its client obeys no proxy of ours, and its tries are counted here.
        let client = reqwest::Client::builder()
            .no_proxy()
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.timeout)
            .build()?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(work(queue));
        let places = Arc::new(Semaphore::new(config.pending_max));
        Ok((Self { config, client, places, jobs }, tasks))
    }

    /// Places for `count` effects, or none if too many are pending.
    pub(super) fn places(&self, count: usize) -> Option<Places> {
        let count = u32::try_from(count).ok()?;
        self.places.clone().try_acquire_many_owned(count).ok().map(Places)
    }

    /// Effects whose end has not been charged, or not been told as often as it must.
    pub(super) fn owed(&self) -> usize {
        self.config.pending_max - self.places.available_permits()
    }

    /// After `delay`, `end` is called and what it returns is posted to `url`, if there is one. `rng` decides whether the
    /// callback is dropped or doubled; `end` is called in any case.
    pub(super) fn later(
        &self,
        place: Places,
        delay: Duration,
        url: Option<&str>,
        rng: &mut fastrand::Rng,
        end: impl FnOnce() -> Value + Send + 'static,
    ) {
        self.once(place, tokio::time::sleep(delay), url, rng, end);
    }

    /// The same, once something is over.
    pub(super) fn once(
        &self,
        place: Places,
        over: impl Future<Output = ()> + Send + 'static,
        url: Option<&str>,
        rng: &mut fastrand::Rng,
        end: impl FnOnce() -> Value + Send + 'static,
    ) {
        let (dropped, doubled) = (rng.f64() < self.config.drop_share, rng.f64() < self.config.duplicate_share);
        let copies = if dropped { 0 } else { 1 + usize::from(doubled) };
        let url = url.map(ToOwned::to_owned);
        let (client, config) = (self.client.clone(), self.config.clone());
        let job = async move {
            over.await;
            let body = end();
            if let Some(url) = url {
                for _ in 0..copies {
                    tell(&client, &config, &url, &body).await;
                }
            }
            drop(place);
        };
        // Refused only after the simulator was stopped, when nobody is called any more.
        let _ = self.jobs.send(Box::pin(job));
    }
}

async fn work(mut queue: mpsc::UnboundedReceiver<Job>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => {
                    running.spawn(job);
                }
                None => break,
            },
            Some(_) = running.join_next() => {}
        }
    }
}

async fn tell(client: &reqwest::Client, config: &CallbackConfig, url: &str, body: &Value) {
    for again in 0..config.tries {
        if again > 0 {
            tokio::time::sleep(config.pause).await;
        }
        match client.post(url).json(body).send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => {
                let status = answer.status().as_u16();
                tracing::debug!(target: "mainstay::simulator", status, "a callback was refused");
            }
            Err(error) => {
                let error = error.without_url();
                tracing::debug!(target: "mainstay::simulator", %error, "a callback was not delivered");
            }
        }
    }
    tracing::warn!(target: "mainstay::simulator", tries = config.tries, "a callback was given up");
}
