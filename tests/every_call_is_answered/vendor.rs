//! A vendor that knows what it did: the wire, and the ledger the history is held against.

use super::*;

/// One effect, as the vendor knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Truth {
    /// It did it, and charges this.
    Did(Credits),
    /// It did nothing.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) truth: Truth,
    /// The answer says for certain that nothing was done, or a person said so.
    pub(super) clear: bool,
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) requests: BTreeMap<CallId, Vec<Request>>,
    pub(super) order: Vec<CallId>,
    pub(super) wrongs: Vec<String>,
    pub(super) recovered: bool,
}

/// The wire to one vendor, and its ledger.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) vendor: usize,
    pub(super) rng: Rng,
    pub(super) books: Arc<Mutex<Books>>,
}

enum Play {
    Answer(u16, &'static [u8], Option<u64>),
    Fail(WireFault),
    Hang,
    Panic,
}

impl Ledger {
    pub(super) fn new(vendor: usize, seed: u64) -> Self {
        Self { vendor, rng: Rng::seeded(seed ^ (vendor as u64 + 1) << 32), books: Arc::default() }
    }

    /// What the vendor does with a request: the play, whether it did it, whether the answer says that it did not.
    fn play(&self, recovered: bool) -> (Play, bool, bool) {
        const OK: &[u8] = br#"{"call_id":"v"}"#;
        let coin = self.rng.unit() < 0.5;
        let busy_says_no = self.vendor == 0;
        match if recovered { 0 } else { (self.rng.unit() * 1000.0) as u32 } {
            0..560 => (Play::Answer(200, OK, None), true, false),
            560..660 => (Play::Answer(503, b"{}", None), coin && !busy_says_no, busy_says_no),
            660..720 => (Play::Answer(429, b"{}", Some((self.rng.unit() * 5.0) as u64)), false, true),
            720..780 => (Play::Answer(500, b"oh", None), coin, false),
            780..830 => (Play::Hang, coin, false),
            830..880 => (Play::Fail(WireFault::Broken), coin, false),
            880..940 => (Play::Fail(WireFault::Connect), false, true),
            // Clay names no effect in its answer: a 2xx is all it says.
            940..960 => (Play::Answer(200, b"<html>", None), coin || self.vendor == 0, false),
            960..980 => (Play::Answer(400, b"{}", None), false, true),
            980..997 => (Play::Panic, coin, false),
            _ => (Play::Answer(402, b"{}", None), false, true),
        }
    }

    fn note(&self, call: CallId) -> Play {
        let mut books = self.books.lock();
        let (play, did, clear) = self.play(books.recovered);
        let estimate = Credits::whole(VENDORS[self.vendor].2);
        let truth = if did { Truth::Did(estimate) } else { Truth::Nothing };
        let before = books.requests.entry(call).or_default();
        let wrong = before.iter().any(|request| !request.clear);
        before.push(Request { truth, clear });
        if wrong {
            let text = format!("{call} was sent again though it may have happened: {before:?}");
            books.wrongs.push(text);
        }
        books.order.push(call);
        play
    }

    pub(super) fn charged(&self) -> Credits {
        let books = self.books.lock();
        let all = books.requests.values().flatten();
        all.fold(Credits::ZERO, |sum, request| match request.truth {
            Truth::Did(cost) => sum.plus(cost),
            Truth::Nothing => sum,
        })
    }

    /// Tells the runtime how a call ended, in truth; now and then the vendor takes back what it did.
    pub(super) async fn report(&self, mainstay: &Handle, call: CallId) {
        let (chance, part) = (self.rng.unit(), self.rng.unit());
        let end = {
            let mut books = self.books.lock();
            let Some(request) = books.requests.get_mut(&call).and_then(|all| all.last_mut()) else { return };
            match request.truth {
                Truth::Did(most) if chance < 0.85 => Completion::happened(most.share(part)),
                _ if request.clear => return,
                _ => Completion::DidNotHappen,
            }
        };
        if mainstay.complete(call, end.clone()).await.is_err() {
            return;
        }
        let mut books = self.books.lock();
        let Some(request) = books.requests.get_mut(&call).and_then(|all| all.last_mut()) else { return };
        match end {
            Completion::Happened { cost, .. } => request.truth = Truth::Did(cost.unwrap()),
            Completion::DidNotHappen | Completion::Failed { .. } => {
                request.truth = Truth::Nothing;
                request.clear = true;
            }
        }
    }
}

pub(super) trait Share {
    fn share(self, part: f64) -> Self;
}

impl Share for Credits {
    fn share(self, part: f64) -> Self {
        Self::from_micros((self.micros() as f64 * part) as u64)
    }
}

impl Transport for Ledger {
    fn send(&self, request: WireRequest) -> Pin<Box<dyn Future<Output = Result<WireAnswer, WireError>> + Send>> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        if body.get("filter_criteria").is_some() {
            // Its list of calls lags: what may have happened is not found out this way.
            return Box::pin(async {
                Ok(WireAnswer { status: 200, headers: Vec::new(), body: b"{\"items\":[]}".to_vec() })
            });
        }
        let id = ["/mainstay_call_id", "/metadata/mainstay_call_id"].iter().find_map(|at| body.pointer(at)).unwrap();
        let play = self.note(CallId(id.as_str().unwrap().parse().unwrap()));
        let after = Duration::from_millis((self.rng.unit() * 3_000.0) as u64);
        Box::pin(async move {
            let failed = |fault| Err(WireError { fault, detail: "as played".into() });
            match play {
                Play::Answer(status, body, wait) => {
                    tokio::time::sleep(after).await;
                    let headers = wait.map(|wait| ("retry-after".to_owned(), wait.to_string())).into_iter().collect();
                    Ok(WireAnswer { status, headers, body: body.to_vec() })
                }
                Play::Fail(fault) => {
                    tokio::time::sleep(after).await;
                    failed(fault)
                }
                Play::Hang => {
                    tokio::time::sleep(request.timeout).await;
                    failed(WireFault::Timeout)
                }
                Play::Panic => {
                    tokio::time::sleep(after).await;
                    panic!("chaos: the request's own task");
                }
            }
        })
    }
}
