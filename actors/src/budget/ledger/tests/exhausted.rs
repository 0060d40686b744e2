//! The vendor's own word that the account is used up.

use super::*;

#[test]
fn an_exhausted_vendor_that_names_no_reset_is_left_alone_until_the_day_is_over() {
    let mut desk = Desk::new();
    let (a, b) = (desk.reserve(6), desk.reserve(6));
    assert_eq!(marks(&desk.end(a, exhausted(None))), ["exhausted"]);
    assert!(desk.end(b, exhausted(Some(Duration::from_secs(60)))).is_empty(), "said once, and not shortened");
    assert_eq!(desk.figures(), [0; 4]);
    let refusal = desk.offer(0, CRITICAL).0.unwrap_err();
    assert_eq!(refusal.reason, Reason::VendorExhausted);
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
    assert_eq!(desk.ledger.exhausted_until(desk.now), Some(desk.ledger.today().end));
    desk.pass_hours(4);
    desk.reserve(6);
    assert_eq!(desk.ledger.exhausted_until(desk.now), None);
}

#[test]
fn an_exhausted_vendor_that_names_its_reset_is_taken_at_its_word_within_reason() {
    for (asked, hours) in
        [(Duration::from_secs(3600), 1), (Duration::from_secs(10 * 3600), 10), (Duration::MAX, 31 * 24)]
    {
        let mut desk = Desk::new();
        let grant = desk.reserve(6);
        desk.end(grant, exhausted(Some(asked)));
        let wait = desk.refuse(6).retry_after(desk.now).unwrap();
        assert_eq!(wait, Duration::from_secs(hours * 3600));
        assert!(wait <= EXHAUSTED_MAX);
        desk.pass_hours(hours - 1);
        assert_eq!(desk.refuse(6).retry_after(desk.now), Some(Duration::from_secs(3600)));
        desk.pass_hours(1);
        desk.reserve(6);
    }
}

#[test]
fn a_second_exhausted_on_another_day_does_not_shorten_the_first() {
    let mut desk = Desk::new();
    let (a, b) = (desk.reserve(6), desk.reserve(6));
    desk.end(a, exhausted(Some(Duration::from_secs(100 * 3600))));
    desk.pass_hours(6);
    assert_eq!(marks(&desk.end(b, exhausted(None))), [""; 0]);
    assert_eq!(desk.refuse(6).retry_after(desk.now), Some(Duration::from_secs(94 * 3600)));
}
