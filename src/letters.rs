//! The parked calls, in an application's hands: list, count, replay, export, purge.

use std::sync::Arc;

use mainstay_actors::{
    dlq::{DlqActor, DlqError, DlqSnapshot, Filter, Kind, LetterId, List, Page, Purge, Replay},
    ids::VendorId,
    kernel::{Lost, Published, ask},
    outcome::Class,
};

use crate::{attempts::CRASHES_MAX, gateway::Gateway};

/// Most letters on one page.
pub const PAGE_MAX: usize = 200;
