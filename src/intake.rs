//! Durable calls that an earlier process accepted and did not end: taken up again in the order of their acceptance, each vendor by
//! itself, so many at a time. The rest waits on disk.

use std::{sync::Arc, time::Duration};

use mainstay_actors::{
    dlq::{Filter, Kind, ParkedLetter},
    ids::VendorId,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{gateway::Gateway, letters::DeadLetters, offer};

/// How many of a vendor's are under way at a time, ours: enough to keep its lanes busy, few enough to leave them room.
const AT_A_TIME: usize = 64;

/// How long the queue, or the table of live calls, is left alone when it had no room.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes up the calls of one vendor that were there before `next`: what was accepted since is under way already.
pub(crate) async fn take_up(gateway: Arc<Gateway>, vendor: VendorId, next: u64) {
    let letters = DeadLetters::new(gateway.clone());
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let filter = Filter { vendor: Some(vendor), ..Filter::kind(Kind::Accepted) };
    let mut after = None;
    loop {
        let Ok(page) = letters.list(filter.clone(), after).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for parked in page.letters.into_iter().filter(|parked| parked.seq < next) {
            // Never closed.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            begin(&gateway, &parked, permit).await;
        }
        after = page.next.filter(|at| *at < next);
        if after.is_none() {
            return;
        }
    }
}

async fn begin(gateway: &Arc<Gateway>, parked: &ParkedLetter, permit: OwnedSemaphorePermit) {
    while !gateway.live.is_closed() {
        if let Some(run) = offer::resume(gateway, parked) {
            gateway.tasks.spawn(Box::pin(async move {
                run.await;
                drop(permit);
            }));
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
