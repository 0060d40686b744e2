//! The concerns of mainstay: pure rules, and the supervised actors around them.
//!
//! Five floors, arrows only downwards; a concern never imports a sibling.
//!
//! 1. ground: [`ids`], [`credits`], [`meter`], [`clock`], [`duration`], [`faults`], [`secret`], [`seldom`]
//! 2. vocabulary and kernel: [`call`], [`outcome`], [`refusal`], [`grant`], [`store`], `kernel`
//! 3. `ticket`, [`fact`], `profile`
//! 4. the concerns, rooms of one shape (`config`, `state`, `message`, `actor`)
//!
//! Without the feature `runtime` only the vocabulary and the pure rules are built: that is how their purity is proved.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(panic = "abort")]
compile_error!("mainstay restarts actors after a panic: build with panic = \"unwind\"");

pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod call;
pub mod client;
pub mod clock;
pub mod credits;
pub mod dlq;
pub mod duration;
pub mod fact;
pub mod fallback;
pub mod faults;
pub mod grant;
pub mod health;
pub mod hours;
pub mod idempotency;
pub mod ids;
#[cfg(feature = "runtime")]
pub mod kernel;
pub mod meter;
pub mod outcome;
pub mod profile;
pub mod refusal;
pub mod secret;
pub mod seldom;
pub mod store;
#[cfg(feature = "runtime")]
pub mod ticket;
