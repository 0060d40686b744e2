//! mainstay.

pub mod supervision;
