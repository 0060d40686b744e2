//! The application's own rules: asked before a call may do anything, and again before a parked one is done.

use std::{panic::AssertUnwindSafe, sync::Arc};

use mainstay_actors::{
    call::AcceptedCall,
    kernel::panic_text,
    outcome::cut,
    refusal::{Guard, Reason, Refusal},
};

/// Allows a call, or says why not. It must not block: it runs in the call's own task.
pub type Guardrail = Arc<dyn Fn(&AcceptedCall) -> Result<(), String> + Send + Sync>;

/// The first denial, in the order in which the guardrails were given. One that panics denies.
pub(crate) fn denial(guardrails: &[Guardrail], call: &AcceptedCall) -> Option<Refusal> {
    let why = guardrails.iter().find_map(|guardrail| ask(guardrail, call).err())?;
    Some(Refusal::new(Guard::Guardrail, Reason::Denied { why: cut(why).into() }))
}

fn ask(guardrail: &Guardrail, call: &AcceptedCall) -> Result<(), String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| guardrail(call))) {
        Ok(answer) => answer,
        Err(panic) => {
            let (vendor, problem) = (&call.vendor, panic_text(&*panic));
            tracing::error!(target: "mainstay::guardrail", %vendor, call = %call.id, %problem, "a guardrail panicked over a call to {vendor}, which is denied");
            Err(format!("a guardrail panicked: {problem}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mainstay_actors::ids::{CallId, OperationId, VendorId};
    use serde_json::json;

    use super::*;

    fn denied(guardrails: &[Guardrail]) -> Option<String> {
        let (vendor, operation) = (VendorId::new("clay").unwrap(), OperationId::new("enrich").unwrap());
        let call = AcceptedCall::new(CallId(Default::default()), vendor, operation, json!({}), Timestamp::UNIX_EPOCH);
        denial(guardrails, &call).map(|refusal| refusal.to_string())
    }

    #[test]
    fn the_first_denial_stands_and_a_guardrail_that_panics_denies() {
        let allows: Guardrail = Arc::new(|_| Ok(()));
        let denies: Guardrail = Arc::new(|call| Err(format!("no {} today", call.vendor)));
        let breaks: Guardrail = Arc::new(|_| panic!("out of order"));
        assert_eq!(denied(&[]), None);
        assert_eq!(denied(&[allows.clone(), allows.clone()]), None);
        let first = denied(&[allows, denies, breaks.clone()]);
        assert_eq!(first.as_deref(), Some("refused by the guardrail: no clay today"));
        assert!(denied(&[breaks]).unwrap().contains("a guardrail panicked: out of order"));
    }
}
