//! A second thread that looks whether the first one comes back from the disk.
//!
//! A flush can hang: a disk that does not answer, a thread of the engine that died. The owner thread is inside it then and can
//! tell nobody.

use std::{
    io,
    sync::{Arc, mpsc},
    time::Duration,
};

use mainstay_actors::clock;

use super::status::Shared;

/// Looks in a time that may be hung.
const LOOKS: u32 = 5;

/// Ends when what it returns is dropped.
pub(super) fn start(shared: Arc<Shared>, limit: Duration) -> io::Result<mpsc::Sender<()>> {
    let (alive, ended) = mpsc::channel::<()>();
    std::thread::Builder::new().name("mainstay-disk".into()).spawn(move || {
        while ended.recv_timeout(limit / LOOKS) == Err(mpsc::RecvTimeoutError::Timeout) {
            shared.look(clock::now(), limit);
        }
    })?;
    Ok(alive)
}
