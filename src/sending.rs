//! The note on disk that the call of a letter is about to be sent: without it nothing is. A process that dies after it leaves a
//! call that may have happened, one that dies before it a call that did not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use mainstay_actors::{
    dlq::{DlqError, LetterId, NoteSending},
    kernel::Lost,
    refusal::{Guard, Reason, Refusal},
    store::Waiting,
    ticket::WriteAhead,
};

use crate::{gateway::Gateway, verdict::CRASHES_MAX};

/// How long a call waits for the store. Past it nothing is sent.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The note for one run of a letter's call: written once, before its first ticket is sent.
pub(crate) struct SendingNote {
    gateway: Arc<Gateway>,
    letter: LetterId,
    replayed: bool,
    written: AtomicBool,
}

impl SendingNote {
    pub(crate) fn new(gateway: &Arc<Gateway>, letter: LetterId, replayed: bool) -> Arc<Self> {
        Arc::new(Self { gateway: gateway.clone(), letter, replayed, written: AtomicBool::new(false) })
    }

    async fn write(&self) -> Result<(), String> {
        let note = NoteSending { id: self.letter, replayed: self.replayed };
        let mut crashes = 0;
        loop {
            match self.gateway.ask_dlq(note).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(DlqError::Restarting)) | Err(Lost::Crashed) if crashes < CRASHES_MAX => crashes += 1,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(lost) => return Err(lost.to_string()),
            }
        }
    }
}

impl WriteAhead for SendingNote {
    fn write_ahead(self: Arc<Self>) -> Waiting<'static, Result<(), Refusal>> {
        Box::pin(async move {
            if self.written.load(SeqCst) {
                return Ok(());
            }
            let late = || format!("the store did not answer within {STORE_ANSWERS_WITHIN:?}");
            let written = tokio::time::timeout(STORE_ANSWERS_WITHIN, self.write()).await;
            match written.unwrap_or_else(|_| Err(late())) {
                Ok(()) => self.written.store(true, SeqCst),
                Err(problem) => return Err(Refusal::new(Guard::Gateway, Reason::NotWritten { problem })),
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for SendingNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendingNote({})", self.letter)
    }
}
