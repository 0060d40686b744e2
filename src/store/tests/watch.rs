//! A disk that does not come back.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use mainstay_actors::clock;
use parking_lot::Mutex;

use super::{writer::Gated, *};
use crate::store::handle::Care;

const LIMIT: Duration = Duration::from_millis(50);

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = clock::now();
    while !is_so() {
        assert!(clock::now() - begun < Duration::from_secs(20), "waited 20 s for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_flush_that_hangs_is_an_error_for_all_who_wait_and_ask_until_it_comes_back() {
    let (began_tx, began) = mpsc::channel();
    let (leave, leave_rx) = mpsc::channel();
    let engine = Gated { rows: MemoryStore::new(), began: began_tx, leave: leave_rx };
    let (store, thread) = StoreHandle::spawn_with(engine, Care { hang_after: LIMIT, ..Care::default() }).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    store.tell(move |state, _| ear.lock().push(state));
    let put = |n: u64| WriteSet::new().put(Table::Letters, n.to_be_bytes(), *b"x");
    let in_hand = store.commit(put(0));
    began.recv().unwrap();
    let (queued, reading) = (store.commit(put(1)), store.get(Table::Letters, vec![1]));
    for waiting in [in_hand.await, queued.await, reading.await.map(drop)] {
        let error = waiting.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("hangs")), "{error}");
    }
    let status = store.status();
    assert_eq!(status.state, StoreState::Hung);
    assert!(status.cause.unwrap().contains("under way for more than 50ms"));
    let at_once = store.commit(put(2)).await.unwrap_err();
    assert!(at_once.to_string().contains("hangs"), "{at_once}");

    leave.send(()).unwrap();
    leave.send(()).unwrap();
    until("it works again", || store.status().state == StoreState::Working).await;
    leave.send(()).unwrap();
    store.commit(put(3)).await.unwrap();
    let there = store.scan(Table::Letters, vec![], END.to_vec(), 9).await.unwrap();
    assert_eq!(there.len(), 3, "what was under way is done, what was refused at once is not");
    assert_eq!(heard.lock()[..2], [StoreState::Hung, StoreState::Working]);
    store.close();
    thread.join().unwrap();
}
