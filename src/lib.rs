#![doc = include_str!("../README.md")]

mod alerts;
mod answer;
mod api;
mod asking;
mod attempts;
mod builder;
mod claims;
mod completions;
pub mod config;
mod controls;
pub mod debug;
mod drain;
mod effects;
mod endings;
mod entry;
mod error;
mod facts;
mod gateway;
mod guardrail;
mod guards;
mod handle;
mod intake;
mod journal;
mod kept;
mod letters;
mod live;
#[cfg(any(feature = "testing", feature = "debug-http"))]
mod net;
mod offer;
mod opening;
mod payload;
mod placement;
mod plan;
mod probe;
mod redrive;
mod restore;
mod route;
mod runtime;
mod sending;
#[cfg(feature = "settings")]
pub mod settings;
pub mod store;
pub mod supervision;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
mod verdict;
mod wiring;

pub use alerts::{ALERTS_WAITING_MAX, Alert, AlertKind, AlertSink};
pub use answer::{Answer, Because, CallError, Completion, Delivered, Source};
pub use api::{AdjustBudget, ApiActor, Complete, GetDeadLetters, MakeCall, Shutdown, Submit, Subscribe};
pub use builder::Builder;
pub use config::{Preset, RedriveConfig, RuntimeConfig, VendorConfig};
pub use controls::{BreakerControl, BudgetControl, ControlError, GateControl, LaneControl};
pub use debug::{DebugActor, GetSnapshot, Snapshot};
pub use effects::OPEN_MAX;
pub use error::{NotOpen, StartError, UnknownName, UnknownVendor};
pub use facts::{EVENTS_KEPT, SUBSCRIBER_BACKLOG};
pub use gateway::{DEADLINE_MAX, KEY_MAX_BYTES};
pub use guardrail::Guardrail;
pub use guards::{Admission, Guards, GuardsBuilder, GuardsError, GuardsSnapshot, Pass};
pub use handle::{Handle, Receipt};
pub use journal::LOG_EVERY;
pub use letters::{
    DeadLetters, ImportReport, LINE_MAX_BYTES, LettersError, REPLAY_PACE, Replay, ReplayReport, Replayed,
};
pub use mainstay_actors as actors;
pub use mainstay_actors::{
    budget::{Limit, Scope},
    call::{Call, Delivery, OnDenied, Step},
    client::{Done, Failed, FunctionCall},
    credits::Credits,
    fact::{Event, Fact, FinalState},
    ids::{CallId, LaneId, OperationId, VendorId},
    meter::{LimitId, Period, Whose},
    outcome::{Class, Effect, Phase},
    profile::{Clay, ClayApi, Operation, Profile, ProfileSpec, Repeat, Retell, Target},
    refusal::{Guard, Reason, Refusal},
};
pub use payload::PAYLOAD_DEPTH_MAX;
pub use placement::Placement;
pub use plan::VENDORS_MAX;
pub use runtime::{Runtime, ShutdownReport};
pub use store::Durability;
pub use tally::Counts;
pub use verdict::CRASHES_MAX;
