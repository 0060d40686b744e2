//! mainstay.

pub mod store;
