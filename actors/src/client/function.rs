//! An application's own code in the place of the wire: a vendor's SDK, a queue, a database, anything that can be awaited. It
//! passes the same guards as a request, and its operation declares what it may cost and whether it may be repeated.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use serde_json::Value;

use crate::{
    call::{AcceptedCall, IdempotencyKey},
    credits::Credits,
    ids::{CallId, OperationId, TargetId},
    kernel::panic_text,
    outcome::{Class, Effect, Outcome, Phase, cut},
    profile::Operation,
};

/// One attempt, as the function gets it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FunctionCall {
    /// The call, the same through every attempt and replay.
    pub call: CallId,
    /// The operation it was made under.
    pub operation: OperationId,
    /// The target the caller named.
    pub target: Option<TargetId>,
    /// What the caller gave.
    pub payload: Value,
    /// The key of the effect, the same through every attempt: pass it on where the SDK takes one.
    pub key: Option<IdempotencyKey>,
    /// Whose call it is.
    pub tenant: Option<Arc<str>>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

impl FunctionCall {
    pub(super) fn of(call: &AcceptedCall, attempt: u32) -> Self {
        Self {
            call: call.id,
            operation: call.operation.clone(),
            target: call.target.clone(),
            payload: call.payload.clone(),
            key: call.key_for_vendor(),
            tenant: call.tenant.clone(),
            attempt,
        }
    }
}

/// The vendor did it, or took it on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// The answer, which the caller gets.
    pub body: Value,
    /// The vendor's own name for the effect. `None`: read from the body, where the operation says where.
    pub vendor_ref: Option<String>,
    /// What it cost. `None`: read from the body or taken from the estimate, as the operation says.
    pub cost: Option<Credits>,
}

impl From<Value> for Done {
    fn from(body: Value) -> Self {
        Self { body, ..Self::default() }
    }
}

/// The vendor did not do it, or nobody knows whether it did.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    class: Class,
    effect: Effect,
    detail: String,
    retry_after: Option<Duration>,
}

impl Failed {
    /// It certainly did not happen: it may be tried again, something may stand in, and its money goes back.
    pub fn before_effect(class: Class, detail: impl fmt::Display) -> Self {
        Self { class, effect: Effect::None, detail: cut(detail.to_string()), retry_after: None }
    }

    /// It may have happened. Say so whenever a request was sent and no answer settled it: it is then sent again only if the
    /// operation allows that.
    pub fn maybe_done(class: Class, detail: impl fmt::Display) -> Self {
        Self { effect: Effect::Unknown, ..Self::before_effect(class, detail) }
    }

    /// How long the vendor asks to be left alone.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.detail)
    }
}

/// What an attempt of a function comes to.
pub type FunctionFuture = Pin<Box<dyn Future<Output = Result<Done, Failed>> + Send>>;

/// The client of one operation, in the application's own words. It is called once an attempt, in the attempt's own task. Past
/// the operation's timeout its future is dropped, and a panic in it is its own failure: either way the effect is unknown.
#[derive(Clone)]
pub struct Function(Arc<dyn Fn(FunctionCall) -> FunctionFuture + Send + Sync>);

impl Function {
    /// Takes a closure.
    ///
    /// ```
    /// use mainstay_actors::client::{Done, Failed, Function};
    /// use mainstay_actors::outcome::Class;
    ///
    /// let send = Function::new(|call| async move {
    ///     match call.payload["to"].as_str() {
    ///         Some(_) => Ok(Done::from(serde_json::json!({ "sent": true }))),
    ///         None => Err(Failed::before_effect(Class::CallerError, "to is missing")),
    ///     }
    /// });
    /// # let _ = send;
    /// ```
    pub fn new<F, R>(function: F) -> Self
    where
        F: Fn(FunctionCall) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Done, Failed>> + Send + 'static,
    {
        Self(Arc::new(move |call| Box::pin(function(call))))
    }

    /// Makes one attempt. It always comes to an outcome.
    pub(super) async fn attempt(&self, operation: &Operation, call: &AcceptedCall, attempt: u32) -> Outcome {
        let given = FunctionCall::of(call, attempt);
        let work = async {
            let begun = catch_unwind(AssertUnwindSafe(|| (self.0)(given)));
            match begun {
                Ok(future) => until_done(future).await,
                Err(panic) => Err(panicked(&*panic)),
            }
        };
        match tokio::time::timeout(operation.timeout, work).await {
            Ok(Ok(done)) => success(operation, call, done),
            Ok(Err(failed)) => failed.into(),
            Err(_) => {
                let outcome = Outcome::without_answer(
                    Class::Timeout,
                    Effect::Unknown,
                    format!("the function took longer than {:?} and was dropped", operation.timeout),
                );
                Outcome { phase: Some(Phase::Request), ..outcome }
            }
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// Polls under `catch_unwind`: a panic in a vendor's SDK is an outcome, not the end of the task.
async fn until_done(mut future: FunctionFuture) -> Result<Done, Failed> {
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(panic) => Poll::Ready(Err(panicked(&*panic))),
    })
    .await
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failed {
    Failed::maybe_done(Class::Abandoned, format!("the function panicked: {}", panic_text(panic)))
}

fn success(operation: &Operation, call: &AcceptedCall, done: Done) -> Outcome {
    let read = |at: &String| done.body.pointer(at).and_then(Value::as_str).map(|name| cut(name.to_owned()));
    let vendor_ref = done.vendor_ref.or_else(|| operation.vendor_ref.as_ref().and_then(read));
    Outcome {
        vendor_ref,
        cost: done.cost.or_else(|| operation.cost.read(call.estimate, &done.body, |_| None)),
        pending: operation.completion.owed().is_some(),
        body: done.body,
        ..Outcome::without_answer(Class::Success, Effect::Done, "done by a function of the application")
    }
}

impl From<Failed> for Outcome {
    fn from(failed: Failed) -> Self {
        let Failed { class, effect, detail, retry_after } = failed;
        // A failure that calls itself a success is neither.
        let class = if class == Class::Success { Class::Malformed } else { class };
        Self { retry_after, ..Self::without_answer(class, effect, detail) }
    }
}
